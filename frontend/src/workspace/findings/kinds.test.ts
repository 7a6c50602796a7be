import { expect, test } from "vitest";
import { parse } from "../search/parse";
import { chipText, typedForm } from "../view";
import { findingText, looked } from "./kinds";

test("a chip says the kinds in words", () => {
  expect(findingText("label_error,duplicate")).toBe("label error or duplicate");
  expect(findingText("any")).toBe("any finding");
  expect(findingText("new_kind")).toBe("new_kind");
  expect(chipText("finding", "outlier")).toBe("outlier");
  expect(chipText("finding_state", "dismissed")).toBe("findings:dismissed");
});

test("a finding is typed as a filter", () => {
  expect(parse("cat finding:outlier,leak").filter).toEqual({ finding: ["outlier,leak"] });
  expect(parse(typedForm("finding_state", "any")).filter).toEqual({ finding_state: ["any"] });
});

test("what a job found comes in the order of the page", () => {
  const result = { kinds: { quality: { open: 2, note: "" }, label_error: { open: 0, note: "No labels." } } };
  expect(looked(result)).toEqual([
    { kind: "label_error", open: 0, note: "No labels." },
    { kind: "quality", open: 2, note: "" },
  ]);
  expect(looked({})).toEqual([]);
});

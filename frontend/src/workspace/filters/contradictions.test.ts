import { expect, test } from "vitest";
import { contradictions } from "./contradictions";

test("a label and no label exclude each other", () => {
  expect(contradictions({ unlabeled: ["true"], label: ["cat", "dog"] })).toEqual([
    ["unlabeled", "label:cat or label:dog"],
  ]);
  expect(contradictions({ unlabeled: ["true"], disagrees: ["true"] })).toHaveLength(1);
  expect(contradictions({ unlabeled: ["true"], min_confidence: ["0.5"] })).toHaveLength(1);
});

test("a value and its refusal exclude each other", () => {
  expect(contradictions({ tag: ["night"], not_tag: ["night"] })).toEqual([["tag:night", "not tag:night"]]);
  expect(contradictions({ split: ["train", "val"], not_split: ["val", "train"] })).toHaveLength(1);
});

test("what can hold together is no contradiction", () => {
  expect(contradictions({ unlabeled: ["false"], label: ["cat"] })).toEqual([]);
  expect(contradictions({ unlabeled: ["true"], disagrees: ["false"], split: ["train"] })).toEqual([]);
  expect(contradictions({ unlabeled: ["true"], predicted: ["cat"], min_confidence: ["0.5"] })).toEqual([]);
  expect(contradictions({ tag: ["night", "rain"], not_tag: ["rain"] })).toEqual([]);
});

import { expect, test } from "vitest";
import { EMPTY, isSearch, queryBody, readView, toggled, writeView, type View } from "./view";

test("an address brings back the view that it was made from", () => {
  const view: View = {
    text: "stop sign & co",
    mode: "words",
    like: [5, 9],
    unlike: [7],
    image: "abc",
    filter: { label: ["stop sign", "ü"], "metadata.camera": ["cam-3"], brightness: [">0.3"] },
    order: "-brightness",
    min: 0.55,
    saved: 12,
  };
  expect(readView(new URLSearchParams(writeView(view).toString()))).toEqual(view);
});

test("an empty address is the empty view", () => expect(readView(new URLSearchParams())).toEqual(EMPTY));

test("broken numbers in an address are left out", () => {
  expect(readView(new URLSearchParams("like=1,x,-3&min=abc"))).toEqual({ ...EMPTY, like: [1] });
});

test("a facet is switched on, over and off", () => {
  const on = toggled(EMPTY, "split", "train");
  expect(on.filter).toEqual({ split: ["train"] });
  expect(toggled(on, "split", "val").filter).toEqual({ split: ["val"] });
  expect(toggled(on, "split", "train").filter).toEqual({});
  expect(toggled(on, "split", "val", false).filter).toEqual({ split: ["train", "val"] });
});

test("only what looks for something is a search", () => {
  expect(isSearch({ ...EMPTY, unlike: [1], filter: { split: ["train"] } })).toBe(false);
  expect(isSearch({ ...EMPTY, like: [1] })).toBe(true);
});

test("one filter value goes out plain, several as a list", () => {
  expect(queryBody({ ...EMPTY, text: "cat", filter: { label: ["a", "b"], split: ["train"] } })).toEqual({
    text: "cat",
    filter: { label: ["a", "b"], split: "train" },
  });
});

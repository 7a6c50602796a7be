import { expect, test } from "vitest";
import { parse } from "./search/parse";
import { EMPTY, isSearch, queryBody, readView, toggled, typedForm, writeView, type View } from "./view";

test("an address brings back the view that it was made from", () => {
  const view: View = {
    text: "stop sign & co",
    mode: "words",
    like: [5, { item: 9, box: [0.1, 0.2, 0.3, 0.4] }],
    unlike: [7, { item: 7, region: 3 }],
    image: "abc",
    imagePart: { box: [0, 0.5, 0.25, 0.5] },
    regions: false,
    filter: { label: ["stop sign", "ü"], "metadata.camera": ["cam-3"], brightness: [">0.3"] },
    order: "-brightness",
    min: 0.55,
    said: "2 cars, stop sign & co",
    literal: true,
    saved: 12,
  };
  expect(readView(new URLSearchParams(writeView(view).toString()))).toEqual(view);
});

test("polygons come back from an address, those of items and that of an uploaded picture", () => {
  const polygon: [number, number][] = [[0, 0.5], [0.25, 1], [1, 0]]; // prettier-ignore
  const view = { ...EMPTY, like: [{ item: 9, polygon }], image: "abc", imagePart: { polygon } };
  const address = writeView(view).toString();
  expect(address).toBe("like=9-p0_0.5_0.25_1_1_0&image=abc&image_polygon=0_0.5_0.25_1_1_0");
  expect(readView(new URLSearchParams(address))).toEqual(view);
  expect(queryBody(view)).toEqual({ like: view.like, image: "abc", image_polygon: polygon });
  expect(readView(new URLSearchParams("image=abc&image_polygon=0_0_1_1")).imagePart).toBeNull();
});

test("an empty address is the empty view", () => expect(readView(new URLSearchParams())).toEqual(EMPTY));

test("broken numbers in an address are left out", () => {
  expect(readView(new URLSearchParams("like=1,x,-3&min=abc"))).toEqual({ ...EMPTY, like: [1] });
});

test("areas and what is searched go out as the API takes them", () => {
  const box: [number, number, number, number] = [0, 0, 0.5, 1];
  expect(
    queryBody({ ...EMPTY, like: [{ item: 3, box }], image: "abc", imagePart: { box }, regions: true }),
  ).toEqual({
    like: [{ item: 3, box }],
    image: "abc",
    image_box: box,
    regions: true,
  });
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
    literal: true,
    filter: { label: ["a", "b"], split: "train" },
  });
});

test("a chip that is typed again is the same filter", () => {
  const filters: [string, string][] = [
    ["label", "stop sign"],
    ["not_label", "stop sign"],
    ["unlabeled", "true"],
    ["unlabeled", "false"],
    ["count.traffic light", ">2"],
    ["brightness", "<0.25"],
    ["color.red", ">0.5"],
    ["metadata.camera", "cam 3"],
  ];
  for (const [key, value] of filters)
    expect(parse(typedForm(key, value))).toEqual({ words: "", filter: { [key]: [value] } });
  expect(typedForm("count.cup", "2..3")).toBe("between 2 and 3 cup");
});

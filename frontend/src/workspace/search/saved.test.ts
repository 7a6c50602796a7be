import { expect, test } from "vitest";
import type { Point } from "../regions/shapes";
import { EMPTY, type View } from "../view";
import { isChanged, toSave, viewOf } from "./saved";

const view: View = {
  ...EMPTY,
  text: "stop sign",
  like: [5, { item: 9, box: [0, 0, 0.5, 1] }],
  filter: { split: ["train"], label: ["a", "b"], "count.person": [">2"] },
  min: 0.4,
  saved: 3,
};

test("what was saved opens as it was", () =>
  expect(viewOf({ id: 3, ...toSave(view) })).toEqual({ ...view, literal: true }));

test("polygons are saved: of an item, and of an uploaded picture", () => {
  const polygon: Point[] = [[0, 0], [1, 0], [0.5, 1]]; // prettier-ignore
  const areas: View = {
    ...EMPTY,
    like: [{ item: 5, polygon }],
    image: "abc",
    imagePart: { polygon },
    saved: 3,
  };
  const saved = { id: 3, ...toSave(areas) };
  expect(saved.query).toEqual({ like: [{ item: 5, polygon }], image: "abc", image_polygon: polygon });
  expect(viewOf(saved)).toEqual(areas);
  expect(isChanged(areas, saved)).toBe(false);
  expect(isChanged({ ...areas, imagePart: { polygon: polygon.toReversed() } }, saved)).toBe(true);
});

test("a filter as the API says it opens as chips", () => {
  const query = { filter: { count: { person: ">2" }, unlabeled: true, width: 20 } };
  expect(viewOf({ id: 1, query, min_score: null })?.filter).toEqual({
    "count.person": [">2"],
    unlabeled: ["true"],
    width: ["20"],
  });
});

test("what chips cannot say is not opened", () => {
  const of = (query: Record<string, unknown>) => viewOf({ id: 1, query, min_score: null });
  expect(of({ filter: { metadata: { camera: "left" } } })).toBeNull();
  expect(of({ text: "a dog", image_ellipse: [] })).toBeNull();
  expect(of({ filter: { objects: [{ class: "dog" }] } })?.filter).toEqual({ objects: ['{"class":"dog"}'] });
});

test("a change is seen, another order is none", () => {
  const saved = { id: 3, ...toSave(view) };
  expect(isChanged(view, saved)).toBe(false);
  expect(isChanged({ ...view, order: "-id" }, saved)).toBe(false);
  expect(isChanged({ ...view, min: 0.5 }, saved)).toBe(true);
  expect(isChanged({ ...view, filter: {} }, saved)).toBe(true);
});

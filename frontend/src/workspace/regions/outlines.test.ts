import { describe, expect, test } from "vitest";
import type { ItemLabel, Prediction, Region } from "../../lib/api/client";
import {
  between,
  counted,
  fitted,
  isMovable,
  LEAST,
  moved,
  nudged,
  outlines,
  resized,
  sizeOf,
  tagOf,
} from "./outlines";

const box = { x: 0.25, y: 0.25, width: 0.5, height: 0.25 };
const region = (id: number, kind: Region["kind"], change: Partial<Region> = {}): Region => ({
  ...{ id, kind, item: 1, layer: null, polygon: null, created_at: "", ...box },
  ...change,
});
const prediction = (
  region: number | null,
  score: number,
  sides: number[] | null = [0, 0, 0.1, 0.1],
): Prediction => ({
  ...{ model: "starter", label: "person", score, box: sides, region },
});

describe("what is outlined", () => {
  test("a detected region has the label and score of its prediction", () => {
    const found = outlines([region(1, "detected")], [prediction(1, 0.984), prediction(null, 0.1)], []);
    expect(found.map((one) => [one.kind, tagOf(one)])).toEqual([
      ["detected", "person .98"],
      ["prediction", "person .10"],
    ]);
    expect(counted(found)).toEqual({ drawn: 0, detected: 1, tile: 0, prediction: 1 });
  });
  test("what a person has said of a region goes before what a detector said", () => {
    const label = { label: "cyclist", region: { id: 1, box: [] } } as unknown as ItemLabel;
    expect(outlines([region(1, "detected")], [prediction(1, 0.9)], [label]).map(tagOf)).toEqual(["cyclist"]);
  });
  test("a prediction of the picture as a whole has no outline", () => {
    expect(outlines([], [prediction(null, 0.9, null)], [])).toEqual([]);
  });
  test("small ones lie on top", () => {
    const found = outlines([region(1, "drawn", { width: 0.1 }), region(2, "tile")], [], []);
    expect(found.map(({ id }) => id)).toEqual([2, 1]);
    expect(found.map(isMovable)).toEqual([false, true]);
    expect(isMovable({ ...found[1]!, polygon: [[0, 0], [1, 0], [1, 1]] })).toBe(false); // prettier-ignore
  });
  test("sizes are shares of the picture", () => {
    expect(sizeOf({ ...box, width: 0.314, height: 0.562 })).toBe("31 × 56 %");
  });
});

test("a picture is fitted into its frame, in the middle", () => {
  expect(fitted({ width: 400, height: 200 }, { width: 100, height: 100 })).toEqual({
    x: 100,
    y: 0,
    width: 200,
    height: 200,
  });
  expect(fitted({ width: 0, height: 0 }, { width: 100, height: 100 }).width).toBe(0);
});

describe("a box", () => {
  test("is drawn between two corners, in any direction, within the picture", () => {
    expect(between({ x: 0.75, y: 0.5 }, { x: 0.25, y: -3 })).toEqual({
      x: 0.25,
      y: 0,
      width: 0.5,
      height: 0.5,
    });
  });
  test("stays in the picture when it is moved", () => {
    expect(moved(box, { x: 1, y: -1 })).toEqual({ ...box, x: 0.5, y: 0 });
  });
  test("is resized at a corner, never to nothing", () => {
    expect(resized(box, "top left", { x: -1, y: 0.125 })).toEqual({
      x: 0,
      y: 0.375,
      width: 0.75,
      height: 0.125,
    });
    const least = resized(box, "bottom right", { x: -1, y: 9 });
    expect(least.width).toBeCloseTo(LEAST);
    expect(least.y + least.height).toBe(1);
  });
  test("is moved by arrows, and resized with Shift", () => {
    expect(nudged(box, "ArrowRight", false)).toEqual({ ...box, x: 0.26 });
    expect(nudged(box, "ArrowDown", true)?.height).toBeCloseTo(0.26);
    expect(nudged(box, "a", false)).toBeNull();
  });
});

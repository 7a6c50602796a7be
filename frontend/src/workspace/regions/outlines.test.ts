import { describe, expect, test } from "vitest";
import type { ItemLabel, Prediction, Region } from "../../lib/api/client";
import { counted, fitted, isEditable, outlines, tagOf } from "./outlines";

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
  });
  test("people change what was drawn or detected, no tiles and no predictions", () => {
    const kinds = outlines(
      [region(1, "drawn"), region(2, "tile"), region(3, "detected")],
      [prediction(null, 0.1)],
      [],
    );
    expect(kinds.filter(isEditable).map(({ id }) => id)).toEqual([1, 3]);
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

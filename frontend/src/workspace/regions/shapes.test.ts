import { describe, expect, test } from "vitest";
import {
  around,
  between,
  handlesOf,
  LEAST,
  moved,
  nudged,
  pulled,
  resized,
  shapeBody,
  sizeOf,
  type Point,
} from "./shapes";

const box = { x: 0.25, y: 0.25, width: 0.5, height: 0.25, polygon: null };
const triangle = around([
  [0.25, 0.5],
  [0.75, 0.5],
  [0.5, 1],
]);

describe("a box", () => {
  test("is drawn between two corners, in any direction, within the picture", () => {
    expect(between({ x: 0.75, y: 0.5 }, { x: 0.25, y: -3 })).toEqual({
      x: 0.25,
      y: 0,
      width: 0.5,
      height: 0.5,
      polygon: null,
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
      polygon: null,
    });
    const least = resized(box, "bottom right", { x: -1, y: 9 });
    expect(least.width).toBeCloseTo(LEAST);
    expect(least.y + least.height).toBe(1);
  });
  test("is pulled by its corners", () => {
    expect(handlesOf(box).map(({ name, x, y }) => [name, x, y])).toEqual([
      ["top left", 0.25, 0.25],
      ["top right", 0.75, 0.25],
      ["bottom left", 0.25, 0.5],
      ["bottom right", 0.75, 0.5],
    ]);
    expect(pulled(box, 3, { x: 0.25, y: 0 })).toEqual({ ...box, width: 0.75 });
  });
  test("is moved by arrows, and resized with Shift", () => {
    expect(nudged(box, "ArrowRight", false)).toEqual({ ...box, x: 0.26 });
    expect(nudged(box, "ArrowDown", true)?.height).toBeCloseTo(0.26);
    expect(nudged(box, "a", false)).toBeNull();
  });
});

describe("a polygon", () => {
  test("has the box around it", () => {
    expect({ ...triangle, polygon: null }).toEqual({
      x: 0.25,
      y: 0.5,
      width: 0.5,
      height: 0.5,
      polygon: null,
    });
    expect(sizeOf(triangle)).toBe("50 × 50 %");
  });
  test("moves with all its points, as far as the picture goes", () => {
    expect(moved(triangle, { x: 9, y: -0.25 })).toEqual(
      around([
        [0.5, 0.25],
        [1, 0.25],
        [0.75, 0.75],
      ]),
    );
  });
  test("is stretched with Shift and arrows, about its upper left corner", () => {
    const [first, second, third] = nudged(triangle, "ArrowLeft", true)!.polygon!;
    expect(first).toEqual([0.25, 0.5]);
    expect(second![0]).toBeCloseTo(0.74);
    expect(third![0]).toBeCloseTo(0.495);
  });
  test("is pulled by its points, which stay in the picture", () => {
    expect(handlesOf(triangle).map(({ name }) => name)).toEqual([
      "Point 1 of 3",
      "Point 2 of 3",
      "Point 3 of 3",
    ]);
    const wider = pulled(triangle, 1, { x: 9, y: -0.25 });
    expect(wider.polygon![1]).toEqual([1, 0.25]);
    expect([wider.y, wider.width]).toEqual([0.25, 0.75]);
  });
  test("goes to the server as its points alone, a box as its sides", () => {
    const points: Point[] = triangle.polygon!;
    expect(shapeBody(triangle)).toEqual({ polygon: points });
    expect(shapeBody(box)).toEqual({ x: 0.25, y: 0.25, width: 0.5, height: 0.25 });
  });
});

test("sizes are shares of the picture", () => {
  expect(sizeOf({ ...box, width: 0.314, height: 0.562 })).toBe("31 × 56 %");
});

import { describe, expect, test } from "vitest";
import { areaOf, crossesItself, isNear, MOST_POINTS, problemOf } from "./polygons";
import type { Point } from "./shapes";

const square: Point[] = [
  [0.25, 0.25],
  [0.75, 0.25],
  [0.75, 0.75],
  [0.25, 0.75],
];
/** The same points in another order: an hourglass. */
const hourglass: Point[] = [square[0]!, square[1]!, square[3]!, square[2]!];
const circle = (count: number): Point[] =>
  Array.from({ length: count }, (_, at) => {
    const angle = (2 * Math.PI * at) / count;
    return [0.5 + 0.4 * Math.cos(angle), 0.5 + 0.4 * Math.sin(angle)];
  });

test("an area does not depend on the direction or the first point", () => {
  expect(areaOf(square)).toBe(0.25);
  expect(areaOf(square.toReversed())).toBe(0.25);
  expect(areaOf([...square.slice(2), ...square.slice(0, 2)])).toBe(0.25);
});

describe("lines cross", () => {
  test("in an hourglass, wherever it begins", () => {
    for (let at = 0; at < 4; at++)
      expect(crossesItself([...hourglass.slice(at), ...hourglass.slice(0, at)])).toBe(true);
  });
  test("when the side that closes it does", () =>
    expect(
      crossesItself([
        [0, 0],
        [1, 0],
        [1, 1],
        [0.5, -0.5],
      ]),
    ).toBe(true));
  test("in no hollow and no round shape", () => {
    const hollow: Point[] = [
      [0, 0],
      [1, 0],
      [0.5, 0.25],
      [1, 1],
      [0, 1],
    ];
    expect(crossesItself(hollow)).toBe(false);
    expect(crossesItself(circle(MOST_POINTS))).toBe(false);
  });
});

test.each([
  [[], "three points or more; this has none"],
  [square.slice(0, 2), "three points or more; this has 2"],
  [circle(MOST_POINTS + 1), "1000 points at most; this has 1001"],
  [hourglass, "lines cross"],
  [[[0, 0], [0.5, 0.5], [1, 1]], "no area"],
] as [Point[], string][])("what is no polygon says why", (points, reason) =>
  expect(problemOf(points)).toContain(reason),
); // prettier-ignore

test("what is a polygon has no problem", () => {
  expect(problemOf(square)).toBe("");
  expect(problemOf(circle(MOST_POINTS))).toBe("");
});

test("near is a matter of pixels on both sides", () => {
  expect(isNear([0.5, 0.5], { x: 0.505, y: 0.49 }, { x: 0.01, y: 0.02 })).toBe(true);
  expect(isNear([0.5, 0.5], { x: 0.52, y: 0.5 }, { x: 0.01, y: 0.02 })).toBe(false);
});

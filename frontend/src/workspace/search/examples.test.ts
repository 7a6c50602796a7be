import { expect, test } from "vitest";
import { around, type Point } from "../regions/shapes";
import {
  distinct,
  partOf,
  readExample,
  readExamples,
  shapeOf,
  writeExamples,
  type Area,
  type Example,
} from "./examples";

test("an address brings back items and areas", () => {
  const examples: Example[] = [
    5,
    { item: 5, region: 17 },
    { item: 6, box: [0.1, 0.25, 0.3333, 0.5] },
    {
      item: 7,
      polygon: [
        [0, 0],
        [1, 0],
        [0.5, 1],
      ],
    },
  ];
  expect(writeExamples(examples)).toBe("5,5-r17,6-b0.1_0.25_0.3333_0.5,7-p0_0_1_0_0.5_1");
  expect(readExamples(writeExamples(examples))).toEqual(examples);
});

test.each([
  "",
  "x",
  "-3",
  "0",
  "5-",
  "5-q1",
  "5-r1.5",
  "5-b0.1_0.2_0.3",
  "5-b0.1_0..2_0.3_1",
  "5-p0_0_1_1",
  "5-p0_0_1_1_0",
])("“%s” is no example", (written) => expect(readExample(written)).toBeNull());

test.each([
  { x: 0.33335, y: 0, width: 0.66665, height: 1 },
  { x: 0.12344, y: 0.00004, width: 0.87656, height: 0.99996 },
])("a rounded box stays inside the picture", (box) => {
  const [x, y, width, height] = partOf({ ...box, polygon: null }).box!;
  expect(x + width).toBeLessThan(1 + 1e-6);
  expect(y + height).toBeLessThan(1 + 1e-6);
  for (const value of [x, y, width, height]) expect(String(value).length).toBeLessThanOrEqual(6);
});

test("each example stands once", () =>
  expect(distinct([1, { item: 1, region: 2 }, 1, { item: 1, region: 2 }])).toEqual([
    1,
    { item: 1, region: 2 },
  ]));

test("a polygon keeps its points, to four digits, through an address", () => {
  const polygon: Point[] = [
    [0.123456, 0.5],
    [1, 0.99999],
    [0, 1 / 3],
  ];
  const example = { item: 7, ...partOf(around(polygon)) };
  expect(writeExamples([example])).toBe("7-p0.1235_0.5_1_1_0_0.3333");
  expect(readExamples(writeExamples([example]))).toEqual([example]);
});

test("a part lies where it was marked; a region is known by its id alone", () => {
  const box = { x: 0.25, y: 0.5, width: 0.5, height: 0.5, polygon: null };
  expect(shapeOf(partOf(box))).toEqual(box);
  const triangle = around([
    [0.25, 0.5],
    [0.75, 0.5],
    [0.5, 1],
  ]);
  expect(shapeOf(partOf(triangle))).toEqual({ ...box, polygon: triangle.polygon });
  expect(shapeOf({ item: 1, region: 3 } as Area)).toBeNull();
});

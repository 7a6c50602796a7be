import { expect, test } from "vitest";
import { expanded, parted, UNCALIBRATED, type Order } from "./binary";

const order: Order = {
  ids: Uint32Array.of(1, 2, 3, 4),
  scores: Float32Array.of(0.2, 0.9, 0.1, 0.5),
  regions: null,
  total: 4,
  embedded: 4,
  isExact: true,
  tookMs: 1,
  image: "",
  matched: 2,
  isBeginning: false,
  calibration: UNCALIBRATED,
};

test("what is above the cut comes first, in the order that it had", () => {
  const { ids, scores } = parted(order, 0.2);
  expect([...ids]).toEqual([1, 2, 4, 3]);
  expect([...scores!].map((score) => score.toFixed(1))).toEqual(["0.2", "0.9", "0.5", "0.1"].map(String));
});

test("without a cut, or where scores fall, the order stays", () => {
  expect(parted(order, null)).toBe(order);
  const falling = { ...order, matched: null };
  expect(parted(falling, 0.5)).toBe(falling);
});

test("runs of consecutive ids become the ids", () => {
  expect([...expanded(Uint32Array.of(7, 3, 20, 1), 4)]).toEqual([7, 8, 9, 20]);
  expect([...expanded(Float64Array.of(2 ** 40, 2), 2)]).toEqual([2 ** 40, 2 ** 40 + 1]);
});

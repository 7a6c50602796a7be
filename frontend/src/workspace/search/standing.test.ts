import { expect, test } from "vitest";
import { UNCALIBRATED, type Order } from "../../lib/api/binary";
import { falling, shareAtLeast, topText } from "./standing";

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

test("scores that do not fall are put in order, and those of the order stay as they are", () => {
  expect([...falling(order)].map((score) => score.toFixed(1))).toEqual(["0.9", "0.5", "0.2", "0.1"]);
  expect(order.scores![0]).toBeCloseTo(0.2);
  const already = { ...order, matched: null };
  expect(falling(already)).toBe(already.scores);
});

test("the share counts all that score as much", () => {
  const scores = Float32Array.of(0.9, 0.5, 0.5, 0.1);
  expect(shareAtLeast(scores, 4, 0.9)).toBe(0.25);
  expect(shareAtLeast(scores, 4, 0.5)).toBe(0.75);
  expect(shareAtLeast(scores, 4, 0.95)).toBe(0);
});

test("of the best alone it is a share of all", () => {
  expect(shareAtLeast(Float32Array.of(0.9, 0.8), 1000, 0.8)).toBe(0.002);
});

test("nothing compared is no share", () => {
  expect(shareAtLeast(new Float32Array(), 0, 0.5)).toBe(0);
});

test.each([
  [0.5, "top 50 %"],
  [0.034, "top 3.4 %"],
  [0.0083, "top 0.8 %"],
  [0.000_21, "top 0.02 %"],
  [0.000_001, "top 0.01 %"],
])("%f reads as %s", (share, text) => expect(topText(share)).toBe(text));

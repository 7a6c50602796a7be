import { expect, test } from "vitest";
import { histogram } from "./histogram";

test("every score stands in one bar, and the ends are round numbers around them", () => {
  const bars = histogram(Float32Array.from([0.93, 0.5, 0.49, 0.12]), 10);
  expect(bars.from).toBeCloseTo(0.1);
  expect(bars.to).toBeCloseTo(0.95);
  expect(bars.counts.reduce((sum, one) => sum + one)).toBe(4);
  expect(bars.counts[9]).toBe(1);
});

test("equal scores still have a scale", () => {
  const { from, to } = histogram(Float32Array.from([1, 1]));
  expect(to).toBeGreaterThan(from);
});

test("no scores, no bars", () => {
  expect(histogram(new Float32Array()).counts.every((one) => one === 0)).toBe(true);
});

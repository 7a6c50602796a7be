// Where a score stands among all that were compared.
import type { Order } from "../../lib/api/binary";

/** The scores of an order, the greatest first: where words count too, they do not fall by themselves. */
export function falling({ scores, matched }: Order): Float32Array {
  if (!scores) return new Float32Array();
  return matched === null ? scores : scores.slice().sort().reverse();
}

/** Share of `compared` that scores `score` or more. Of the best alone, as they come first, it is right as well. */
export function shareAtLeast(falling: Float32Array, compared: number, score: number): number {
  const wanted = Math.fround(score);
  let low = 0;
  let high = falling.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (falling[middle]! >= wanted) low = middle + 1;
    else high = middle;
  }
  return compared ? low / compared : 0;
}

/** “top 0.8 %” */
export function topText(share: number): string {
  const value = 100 * share;
  if (value < 0.01) return "top 0.01 %";
  if (value < 1) return `top ${Number(value.toPrecision(1))} %`;
  return `top ${value < 10 ? Number(value.toFixed(1)) : Math.round(value)} %`;
}

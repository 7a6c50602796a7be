// The scores of a whole order as bars.
export interface Bars {
  from: number;
  to: number;
  counts: number[];
}

/** Ends are rounded outwards so that the scale can be read. */
export function histogram(scores: Float32Array, bars = 60): Bars {
  const counts = new Array<number>(bars).fill(0);
  if (!scores.length) return { from: 0, to: 1, counts };
  let [least, greatest] = [Infinity, -Infinity];
  for (const score of scores) {
    if (score < least) least = score;
    if (score > greatest) greatest = score;
  }
  const to = Math.ceil(greatest * 20 - 1e-3) / 20;
  const from = Math.min(Math.floor(least * 20 + 1e-3) / 20, to - 0.05);
  const scale = bars / (to - from);
  for (const score of scores)
    counts[Math.max(0, Math.min(bars - 1, Math.floor((score - from) * scale)))]! += 1;
  return { from, to, counts };
}

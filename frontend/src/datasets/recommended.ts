// The encoder and the detector that are worth their download, where one can be had.
import type { Detector, Encoder } from "../lib/api/client";
import { duration, megabytes, plural } from "../lib/format";

export interface Pair {
  encoder: Encoder;
  detector: Detector;
}

/** null where either cannot be had: then nothing is proposed. */
export function pairOf(encoders: Encoder[], detectors: Detector[]): Pair | null {
  const isProposed = (one: Encoder | Detector) => one.is_recommended && one.available;
  const encoder = encoders.find((one) => isProposed(one) && one.modalities.includes("image"));
  const detector = detectors.find(isProposed);
  return encoder && detector ? { encoder, detector } : null;
}

/** “1.6 GB to fetch once, about 20 min for these 12,000 pictures here”. */
export function effort({ encoder, detector }: Pair, pictures: number): string {
  const parts = [encoder, detector];
  const missing = parts.filter(({ is_here }) => !is_here);
  const known = missing.every((one) => one.megabytes !== null);
  const sum = missing.reduce((total, one) => total + (one.megabytes ?? 0), 0);
  const size = !missing.length
    ? "on this machine already"
    : known
      ? `${megabytes(sum)} to fetch once`
      : "to be fetched";
  const rates = parts.map(({ per_second }) => per_second);
  if (!rates.every((rate) => rate !== null && rate > 0)) return size;
  const each = rates.reduce<number>((seconds, rate) => seconds + 1 / rate!, 0);
  const time = pictures
    ? `about ${duration(pictures * each)} for ${pictures === 1 ? "this picture" : `these ${plural(pictures, "picture")}`} here`
    : `about ${duration(1000 * each)} for 1,000 pictures here`;
  return `${size}, ${time}`;
}

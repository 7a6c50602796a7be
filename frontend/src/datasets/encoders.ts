// What an encoder is, in words that a person chooses by.
import type { Encoder } from "../lib/api/client";
import { count, megabytes as size } from "../lib/format";

const NAMES: Record<string, string> = { image: "pictures", text: "words" };

/** “pictures and words”: what can be compared in it. */
export const understands = (accepts: string[]): string =>
  ["image", "text"]
    .filter((one) => accepts.includes(one))
    .map((one) => NAMES[one])
    .join(" and ") || "examples alone";

type Weight = Pick<Encoder, "license" | "is_here" | "megabytes" | "per_second">;

/** “Apache-2.0 · 346 MB to fetch · about 12 a second here”: of an encoder or a detector. */
export const weight = ({ license, is_here, megabytes, per_second }: Weight): string =>
  [
    license,
    is_here ? "" : megabytes ? `${size(megabytes)} to fetch` : "to be fetched",
    per_second ? `about ${count(Math.max(1, Math.round(per_second)))} a second here` : "",
  ]
    .filter(Boolean)
    .join(" · ");

/** “Understands pictures and words · 1,280 and 384 dimensions · Apache-2.0 · 346 MB to fetch”. */
export function traits(told: Weight & Pick<Encoder, "outputs" | "dimensions">): string {
  const { outputs, dimensions } = told;
  const accepted = outputs.flatMap(({ accepts }) => accepts);
  return [
    accepted.length ? `Understands ${understands(accepted)}` : "",
    dimensions.length ? `${dimensions.map(count).join(" and ")} dimensions` : "",
    weight(told),
  ]
    .filter(Boolean)
    .join(" · ");
}

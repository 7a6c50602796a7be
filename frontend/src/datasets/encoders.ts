// What an encoder is, in words that a person chooses by.
import type { Encoder } from "../lib/api/client";
import { count } from "../lib/format";

const NAMES: Record<string, string> = { image: "pictures", text: "words" };

/** “pictures and words”: what can be compared in it. */
export const understands = (accepts: string[]): string =>
  ["image", "text"]
    .filter((one) => accepts.includes(one))
    .map((one) => NAMES[one])
    .join(" and ") || "examples alone";

type Told = Pick<Encoder, "outputs" | "dimensions" | "license" | "is_here" | "megabytes" | "per_second">;

/** “Understands pictures and words · 1,280 and 384 dimensions · Apache-2.0 · 346 MB to fetch · about 12 a second here”. */
export function traits({ outputs, dimensions, license, is_here, megabytes, per_second }: Told): string {
  const accepted = outputs.flatMap(({ accepts }) => accepts);
  return [
    accepted.length ? `Understands ${understands(accepted)}` : "",
    dimensions.length ? `${dimensions.map(count).join(" and ")} dimensions` : "",
    license,
    is_here ? "" : megabytes ? `${count(megabytes)} MB to fetch` : "to be fetched",
    per_second ? `about ${count(Math.max(1, Math.round(per_second)))} a second here` : "",
  ]
    .filter(Boolean)
    .join(" · ");
}

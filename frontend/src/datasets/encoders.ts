// What an encoder is, in words that a person chooses by.
import type { Encoder } from "../lib/api/client";
import { count } from "../lib/format";

const NAMES: Record<string, string> = { image: "pictures", text: "words" };

/** “pictures and words”: what can be compared in it. */
export const understands = (accepts: string[]): string =>
  ["image", "text"]
    .filter((one) => accepts.includes(one))
    .map((one) => NAMES[one])
    .join(" and ");

/** “Understands pictures and words · 1,280 and 384 dimensions · Apache-2.0”. */
export function traits({ outputs, license }: Pick<Encoder, "outputs" | "license">): string {
  const known = outputs.length
    ? [
        `Understands ${understands(outputs.flatMap(({ accepts }) => accepts))}`,
        `${outputs.map(({ dimension }) => count(dimension)).join(" and ")} dimensions`,
      ]
    : ["What it understands is known once it is fetched"];
  return [...known, license].filter(Boolean).join(" · ");
}

// What the server understands of typed words, as conditions of the view.
import { api, body, type Understood } from "../../lib/api/client";
import type { FilterValues, View } from "../view";

export const understood = (dataset: number, text: string) => ({
  queryKey: ["dataset", dataset, "understood", text],
  staleTime: 60_000,
  queryFn: (): Promise<Understood> =>
    body(
      api.GET("/api/v1/datasets/{id}/search/understand/", {
        params: { path: { id: dataset }, query: { text } },
      }),
    ),
});

/** A condition's values as they stand in the address. */
const values = (value: unknown): string[] =>
  [value].flat().map((one) => (typeof one === "object" ? JSON.stringify(one) : String(one)));

/** All parts as one filter: those of one key must all hold. */
export function conditions(read: Understood): FilterValues {
  const filter: FilterValues = {};
  for (const part of read.parts)
    for (const [key, value] of Object.entries(part.filter))
      filter[key] = [...new Set([...(filter[key] ?? []), ...values(value)])];
  return filter;
}

/** `filter` with `added`: another number or measure takes the place of the first; objects come beside the others. */
export function joined(filter: FilterValues, added: FilterValues): FilterValues {
  const objects = [...new Set([...(filter.objects ?? []), ...(added.objects ?? [])])];
  return { ...filter, ...added, ...(objects.length && { objects }) };
}

/** The view with the words as they were said, and nothing of what was understood. */
export function literally(view: View, read: Understood): Partial<View> {
  const filter = { ...view.filter };
  for (const [key, dropped] of Object.entries(conditions(read))) {
    const left = (filter[key] ?? []).filter((value) => !dropped.includes(value));
    if (left.length) filter[key] = left;
    else delete filter[key];
  }
  return { text: view.said, said: "", literal: true, filter, order: "", min: null };
}

// What is outlined over one item. Made while a component is set up.
import { createQuery } from "@tanstack/svelte-query";
import type { ItemLabel } from "../../lib/api/client";
import { itemPredictions, itemRegions, queryClient } from "../../lib/api/queries";
import { outlines } from "./outlines";

interface Seen {
  id: number;
  labels: ItemLabel[];
}

/** `seen` gives the item, or null while there is none to ask for. */
export function outlinesOf(seen: () => Seen | null) {
  const regions = createQuery(
    () => ({ ...itemRegions(seen()?.id ?? 0), enabled: seen() !== null }),
    () => queryClient,
  );
  const predictions = createQuery(
    () => ({ ...itemPredictions(seen()?.id ?? 0), enabled: seen() !== null }),
    () => queryClient,
  );
  const all = $derived(outlines(regions.data ?? [], predictions.data ?? [], seen()?.labels ?? []));
  const error = $derived(regions.error ?? predictions.error);
  return {
    get all() {
      return all;
    },
    get isPending() {
      return regions.isPending || predictions.isPending;
    },
    get error() {
      return error;
    },
    refetch: () => Promise.all([regions.refetch(), predictions.refetch()]),
  };
}

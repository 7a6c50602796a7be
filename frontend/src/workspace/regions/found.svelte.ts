// Where the regions lie that a search has named: fetched by their ids, for what is on the screen.
import { SvelteMap } from "svelte/reactivity";
import { api, body, type Region } from "../../lib/api/client";

const KEPT = 4_000;
const PER_REQUEST = 500;

export class FoundRegions {
  readonly #known = new SvelteMap<number, Region>();
  readonly #asked = new Set<number>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly dataset: number) {}

  get(id: number | null | undefined): Region | undefined {
    return id ? this.#known.get(id) : undefined;
  }

  /** Ask for what is missing of `ids`. Only the latest window counts. */
  want(ids: Iterable<number>) {
    const missing = [...new Set(ids)].filter((id) => id && !this.#known.has(id) && !this.#asked.has(id));
    clearTimeout(this.#timer);
    if (missing.length) this.#timer = setTimeout(() => void this.load(missing), 20);
  }

  /** An outline is an addition: without one the results stand as they are. */
  async load(ids: number[]) {
    for (let start = 0; start < ids.length; start += PER_REQUEST) {
      const some = ids.slice(start, start + PER_REQUEST);
      some.forEach((id) => this.#asked.add(id));
      try {
        const params = { path: { id: this.dataset }, query: { ids: some.join(",") } };
        const page = await body(api.GET("/api/v1/datasets/{id}/regions/", { params }));
        for (const region of page.results) this.#known.set(region.id, region);
      } catch {
        // The next window asks again.
        some.forEach((id) => this.#asked.delete(id));
      }
    }
    for (const id of this.#known.keys()) {
      if (this.#known.size <= KEPT) break;
      this.#known.delete(id);
      this.#asked.delete(id);
    }
  }
}

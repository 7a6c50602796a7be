// The items on and around the screen, fetched by windows of the order and kept while there is room.
import { SvelteMap } from "svelte/reactivity";
import { api, body, type Item } from "../../lib/api/client";
import { Pictures } from "./pictures";

/** With their pictures: 25 kB of memory each. */
const KEPT = 2_000;
const PER_REQUEST = 200;
/** Windows that follow each other faster than this are flown past: only now and then is one of them fetched. */
const FAST_MS = 100;
const NOW_AND_THEN_MS = 300;
/** Characters of a text that a row can show; a text may have a million. */
export const GLIMPSE = 500;

export class ItemWindow {
  readonly items = new SvelteMap<number, Item>();
  failed = $state<string | null>(null);
  readonly #wanted = new Set<number>();
  readonly #asked = new Set<number>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #wantedAt = 0;
  #fetchedAt = 0;

  readonly pictures: Pictures;

  constructor(
    readonly dataset: number,
    readonly hasPictures: () => boolean,
  ) {
    this.pictures = new Pictures(dataset);
  }

  get(id: number): Item | undefined {
    return this.items.get(id);
  }

  /** Ask for what is missing of `ids`. Only the latest window counts: what was scrolled past is not fetched. */
  want(ids: Iterable<number>) {
    this.#wanted.clear();
    for (const id of ids) if (!this.items.has(id) && !this.#asked.has(id)) this.#wanted.add(id);
    clearTimeout(this.#timer);
    const now = performance.now();
    const isFast = now - this.#wantedAt < FAST_MS && now - this.#fetchedAt < NOW_AND_THEN_MS;
    this.#wantedAt = now;
    if (this.#wanted.size) this.#timer = setTimeout(() => this.#fetch(), isFast ? FAST_MS : 0);
  }

  put(items: Iterable<Item>) {
    for (const item of items) this.items.set(item.id, item);
    // The map keeps the order of arrival: the oldest go first.
    for (const [id, item] of this.items) {
      if (this.items.size <= KEPT) break;
      this.items.delete(id);
      this.pictures.drop(item);
    }
  }

  /** Change an item at once, before the server has answered; returns how to put it back. */
  patch(ids: Iterable<number>, change: (item: Item) => Item): () => void {
    const before: Item[] = [];
    for (const id of ids) {
      const item = this.items.get(id);
      if (!item) continue;
      before.push(item);
      this.items.set(id, change(item));
    }
    return () => this.put(before);
  }

  /** Fetch again what is known and may have changed. */
  async refresh(ids: Iterable<number>) {
    const known = [...ids].filter((id) => this.items.has(id));
    for (let start = 0; start < known.length; start += PER_REQUEST)
      await this.#load(known.slice(start, start + PER_REQUEST));
  }

  forget() {
    this.items.clear();
    this.pictures.dropAll();
  }

  async #fetch() {
    const ids = [...this.#wanted];
    this.#wanted.clear();
    this.#fetchedAt = performance.now();
    for (let start = 0; start < ids.length; start += PER_REQUEST)
      void this.#load(ids.slice(start, start + PER_REQUEST), this.hasPictures());
  }

  async #load(ids: number[], withPictures = false) {
    ids.forEach((id) => this.#asked.add(id));
    try {
      const [page, pictures] = await Promise.all([
        body(
          api.GET("/api/v1/datasets/{id}/items/", {
            params: { path: { id: this.dataset }, query: { ids: ids.join(","), max_text: GLIMPSE } },
          }),
        ),
        withPictures ? this.pictures.fetch(ids) : [],
      ]);
      const at = new Map(ids.map((id, position) => [id, position]));
      for (const item of page.results) this.pictures.put(item, pictures[at.get(item.id)!] ?? null);
      this.put(page.results);
      this.failed = null;
    } catch (error) {
      this.failed = error instanceof Error ? error.message : String(error);
    } finally {
      ids.forEach((id) => this.#asked.delete(id));
    }
  }
}

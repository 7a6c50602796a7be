// Thumbnails, fetched for many items in one answer: a request for each would keep both the browser and the server busier than the
// pictures themselves.
import { request, type Item } from "../../lib/api/client";

export class Pictures {
  /** By the address of each picture alone, which changes with the picture. */
  readonly #kept = new Map<string, string>();

  constructor(readonly dataset: number) {}

  /** What a picture is shown from: what was fetched, else its own address. */
  of(address: string): string {
    return this.#kept.get(address) ?? address;
  }

  /** One a position; null where the item has none. Without an answer each tile asks for its own, and tells what is wrong. */
  async fetch(ids: readonly number[]): Promise<(Uint8Array<ArrayBuffer> | null)[]> {
    try {
      const answer = await request(`/api/v1/datasets/${this.dataset}/thumbnails/?ids=${ids.join(",")}`);
      return parts(await answer.arrayBuffer(), ids.length);
    } catch (error) {
      console.warn(error);
      return ids.map(() => null);
    }
  }

  put(item: Item, picture: Uint8Array<ArrayBuffer> | null) {
    if (!item.thumbnail_url || !picture || this.#kept.has(item.thumbnail_url)) return;
    // Browsers find the type of a picture in its content.
    this.#kept.set(item.thumbnail_url, URL.createObjectURL(new Blob([picture])));
  }

  /** Give back the memory: what is shown already stays as it is. */
  drop(item: Item) {
    const shown = item.thumbnail_url && this.#kept.get(item.thumbnail_url);
    if (!shown) return;
    URL.revokeObjectURL(shown);
    this.#kept.delete(item.thumbnail_url!);
  }

  dropAll() {
    this.#kept.forEach((shown) => URL.revokeObjectURL(shown));
    this.#kept.clear();
  }
}

/** As the server writes them: how many bytes each has, little-endian, then all of them. */
export function parts(buffer: ArrayBuffer, count: number): (Uint8Array<ArrayBuffer> | null)[] {
  const lengths = new Uint32Array(buffer, 0, count);
  let start = 4 * count;
  return Array.from(lengths, (length) => {
    const part = length ? new Uint8Array(buffer, start, length) : null;
    start += length;
    return part;
  });
}

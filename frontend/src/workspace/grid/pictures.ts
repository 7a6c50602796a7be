// Thumbnails, fetched for many items in one answer: a request for each would keep both the browser and the server busier than the
// pictures themselves.
import { request, type Item } from "../../lib/api/client";

const KEPT = 1_500;

export class Pictures {
  /** By the address of each picture alone, which changes with the picture. */
  readonly #kept = new Map<string, string>();

  constructor(readonly dataset: number) {}

  /** What a picture is shown from: what was fetched, else its own address. */
  of(address: string): string {
    return this.#kept.get(address) ?? address;
  }

  /** One a position; null where the item has none. */
  async fetch(ids: readonly number[]): Promise<(Uint8Array<ArrayBuffer> | null)[]> {
    const answer = await request(`/api/v1/datasets/${this.dataset}/thumbnails/?ids=${ids.join(",")}`);
    return parts(await answer.arrayBuffer(), ids.length);
  }

  put(item: Item, picture: Uint8Array<ArrayBuffer> | null) {
    if (!item.thumbnail_url || !picture || this.#kept.has(item.thumbnail_url)) return;
    // Browsers find the type of a picture in its content.
    this.#kept.set(item.thumbnail_url, URL.createObjectURL(new Blob([picture])));
    for (const [address, shown] of this.#kept) {
      if (this.#kept.size <= KEPT) break;
      this.#kept.delete(address);
      URL.revokeObjectURL(shown);
    }
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

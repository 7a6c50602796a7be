// Which items are meant: some, or all that the view finds down to a score, but for some. Never a million ids.
import { SvelteSet } from "svelte/reactivity";
import type { Order } from "../lib/api/binary";
import { filterBody, isFiltered, isSearch, queryBody, type View } from "./view";

/** All of a view, as it was when it was selected. */
interface Whole {
  view: View;
  order: Order;
  minScore: number | null;
}

export class Selection {
  readonly ids = new SvelteSet<number>();
  whole = $state.raw<Whole | null>(null);
  readonly except = new SvelteSet<number>();

  get count(): number {
    if (!this.whole) return this.ids.size;
    return countAbove(this.whole.order, this.whole.minScore) - this.except.size;
  }

  /** `score`: of the item in the present order, when it has one. */
  has(id: number, score: number | null): boolean {
    if (!this.whole) return this.ids.has(id);
    return (
      !this.except.has(id) && (this.whole.minScore === null || (score ?? -Infinity) >= this.whole.minScore)
    );
  }

  toggle(id: number, score: number | null) {
    if (!this.whole) {
      if (!this.ids.delete(id)) this.ids.add(id);
    } else if (this.has(id, score)) {
      this.except.add(id);
    } else if (!this.except.delete(id)) {
      this.toIds().add(id);
    }
  }

  set(ids: Iterable<number>) {
    this.clear();
    for (const id of ids) this.ids.add(id);
  }

  add(ids: Iterable<number>) {
    const target = this.whole ? this.toIds() : this.ids;
    for (const id of ids) target.add(id);
  }

  selectAll(view: View, order: Order, minScore: number | null) {
    this.clear();
    this.whole = { view, order, minScore };
  }

  clear() {
    this.ids.clear();
    this.except.clear();
    this.whole = null;
  }

  /** The items themselves, in order; of a whole, those of its order. */
  list(): number[] {
    if (!this.whole) return [...this.ids];
    const { order, minScore } = this.whole;
    return [...order.ids.subarray(0, countAbove(order, minScore))].filter((id) => !this.except.has(id));
  }

  /** As the API takes it. */
  toBody(): Record<string, unknown> {
    if (!this.whole) return { ids: [...this.ids] };
    const { view, minScore } = this.whole;
    const except = this.except.size ? { except: [...this.except] } : {};
    if (isSearch(view))
      return { query: queryBody(view), ...(minScore !== null && { min_score: minScore }), ...except };
    return isFiltered(view) ? { filter: filterBody(view.filter), ...except } : { all: true, ...except };
  }

  /** The regions that `order` (of a whole: its own) found in these items, as the API takes them, and how many. */
  regionsIn(order: Order): { count: number; body: Record<string, unknown> } {
    const { ids, regions } = this.whole?.order ?? order;
    if (!regions) return { count: 0, body: { region_ids: [] } };
    const end = this.whole ? countAbove(this.whole.order, this.whole.minScore) : ids.length;
    const found: number[] = [];
    for (let at = 0; at < end; at++)
      if (regions[at] && (this.whole ? !this.except.has(ids[at]!) : this.ids.has(ids[at]!)))
        found.push(regions[at]!);
    const body = this.whole ? { ...this.toBody(), regions: true } : { region_ids: found };
    return { count: found.length, body };
  }

  /** Leave the whole for the plain list of its items. */
  private toIds(): SvelteSet<number> {
    this.set(this.list());
    return this.ids;
  }
}

/** How many positions of a falling order have at least `minScore`. */
export function countAbove(order: Order, minScore: number | null): number {
  const { scores } = order;
  if (minScore === null || !scores) return order.ids.length;
  let low = 0;
  let high = scores.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (scores[middle]! >= minScore) low = middle + 1;
    else high = middle;
  }
  return low;
}

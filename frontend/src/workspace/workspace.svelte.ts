// The state of one open dataset: what is asked for (in the address), what was found, what is focused and selected.
// Made while a component is set up: its queries live as long as that component.
import { createQuery, keepPreviousData } from "@tanstack/svelte-query";
import { api, body, type Dataset, type User } from "../lib/api/client";
import { fetchIds, fetchRanking, parted, UNCALIBRATED, type Order } from "../lib/api/binary";
import { classes, dataset, isRunning, jobs, POLL_IDLE_MS, queryClient } from "../lib/api/queries";
import { router } from "../lib/router.svelte";
import { ItemWindow } from "./grid/items.svelte";
import { FoundRegions } from "./regions/found.svelte";
import { RegionsShown } from "./regions/shown.svelte";
import { distinct, partOf, writeExample, type Example, type Side } from "./search/examples";
import { falling, shareAtLeast, topText } from "./search/standing";
import { conditions, joined, understood } from "./search/understood";
import { countAbove, Selection } from "./selection.svelte";
import { EMPTY, filterQuery, isFiltered, isSearch, queryBody, readView, writeView, type View } from "./view";

export type Panel =
  | "palette"
  | "tags"
  | "keys"
  | "history"
  | "classes"
  | "members"
  | "spaces"
  | "regions"
  | "import"
  | "findings"
  | "jobs"
  | null;

/** What becomes of labels that people gave, in a bulk act. */
export type Answer = "keep" | "replace";

/** What an act is for. */
export interface Target {
  count: number;
  /** As the API takes it. */
  body: Record<string, unknown>;
  /** The items of it that are known here: shown as changed at once. */
  ids: number[];
}

export interface LabelTarget extends Target {
  noun: "item" | "region";
}

const NOTHING: Order = {
  ids: new Uint32Array(),
  scores: null,
  regions: null,
  total: 0,
  embedded: 0,
  isExact: true,
  tookMs: 0,
  image: "",
  matched: null,
  isBeginning: false,
  calibration: UNCALIBRATED,
};
const SIDE = "tile-side";
/** While items arrive, their number is asked for this often; what is shown follows when it has changed. */
const REFRESH_MS = 2_000;
const LARGE = 200_000;
/** Items that are shown while the others are being compared. */
const BEGINNING = 1_000;

/** Set before the fields of `Workspace`, which read it. */
class Opened {
  constructor(
    readonly id: number,
    readonly user: User,
  ) {}
}

export class Workspace extends Opened {
  readonly selection = new Selection();
  readonly items = new ItemWindow(this.id, () => !this.isText);
  readonly regions = new RegionsShown();
  readonly foundRegions = new FoundRegions(this.id);

  tab = $state<"found" | "selected">("found");
  /** Position in the shown order that the keys act on. */
  focus = $state(0);
  /** Where a range begins. */
  anchor = 0;
  panel = $state<Panel>(null);
  side = $state(Number(localStorage.getItem(SIDE)) || 160);
  /** Asked before people's labels are replaced in bulk; the answer is null when the act is called off. */
  question = $state.raw<{
    label: string;
    /** “24 items” */
    what: string;
    byPeople: number;
    answer: (answer: Answer | null) => void;
  } | null>(null);
  /** Labels go to the regions that a search found in the selected items, not to these. */
  labelsRegions = $state(false);

  readonly view = $derived(readView(router.query));
  readonly #viewKey = $derived(writeView({ ...this.view, min: null, said: "", saved: null }).toString());
  readonly isSearching = $derived(isSearch(this.view));
  readonly isAll = $derived(!this.isSearching && !isFiltered(this.view));
  /** The item that is shown large, or null. */
  readonly large = $derived(Number(/\/items\/(\d+)/.exec(router.path)?.[1]) || null);

  // Fields are set up in this order: what a query's options read must stand above it.
  readonly jobs = createQuery(
    () => jobs(this.id),
    () => queryClient,
  );
  readonly running = $derived((this.jobs.data ?? []).filter(isRunning));
  readonly isBusy = $derived(this.running.length > 0);
  readonly dataset = createQuery(
    () => ({
      ...dataset(this.id),
      refetchInterval: this.isBusy
        ? ({ state }: { state: { data?: Dataset } }) =>
            (state.data?.item_count ?? 0) > LARGE ? POLL_IDLE_MS : REFRESH_MS
        : POLL_IDLE_MS,
    }),
    () => queryClient,
  );
  readonly classes = createQuery(
    () => classes(this.id),
    () => queryClient,
  );
  readonly stats = createQuery(
    () => ({
      queryKey: ["dataset", this.id, "stats", filterQuery(this.view.filter).toString()],
      placeholderData: keepPreviousData,
      queryFn: () =>
        body(
          api.GET("/api/v1/datasets/{id}/stats/", {
            params: { path: { id: this.id }, query: this.view.filter as never },
          }),
        ),
    }),
    () => queryClient,
  );
  readonly found = createQuery(
    () => ({
      queryKey: ["dataset", this.id, "order", this.#viewKey],
      placeholderData: keepPreviousData,
      structuralSharing: false,
      gcTime: 60_000,
      queryFn: ({ signal }) => this.#find(signal),
    }),
    () => queryClient,
  );

  /** The best, which an index finds at once, while very many are being compared. */
  readonly beginning = createQuery(
    () => ({
      queryKey: ["dataset", this.id, "beginning", this.#viewKey],
      enabled: this.isSearching && (this.dataset.data?.item_count ?? 0) > LARGE,
      structuralSharing: false,
      gcTime: 60_000,
      queryFn: ({ signal }) => fetchRanking(this.id, { ...queryBody(this.view), limit: BEGINNING }, signal),
    }),
    () => queryClient,
  );

  /** What is understood of the words that were typed. */
  readonly understood = createQuery(
    () => {
      const { said, text, literal } = this.view;
      return {
        ...understood(this.id, said || text),
        enabled: Boolean(said || text) && !literal && this.dataset.data?.modality === "image",
      };
    },
    () => queryClient,
  );

  /** What is shown is not yet what was asked for. */
  readonly isStale = $derived(this.found.isPlaceholderData && !this.beginning.data);
  /** What was found; the former while the next is on its way. */
  readonly order: Order = $derived.by(() => {
    const { data, isPlaceholderData } = this.found;
    const known = data && !isPlaceholderData ? data : (this.beginning.data ?? data ?? NOTHING);
    return parted(known, this.view.min);
  });
  /** Position of each found item, while the selected ones are shown. */
  readonly #positionOf = $derived.by(() => {
    const { ids, scores } = this.order;
    return this.tab === "selected" && scores ? new Map(Array.from(ids, (id, at) => [id, at])) : null;
  });
  /** What the grid shows. */
  readonly shown: Order = $derived.by(() => {
    if (this.tab === "found") return this.order;
    const ids = this.selection.list();
    const at = (id: number) => this.#positionOf?.get(id) ?? -1;
    const { scores, regions } = this.order;
    return {
      ...this.order,
      ids: Float64Array.from(ids),
      scores: scores && Float32Array.from(ids, (id) => scores[at(id)] ?? NaN),
      regions: regions && Float64Array.from(ids, (id) => regions[at(id)] ?? 0),
    };
  });
  readonly focused = $derived<number | null>(this.shown.ids[this.focus] ?? null);
  /** How many of the found are at the cut or above it. */
  readonly above = $derived(countAbove(this.order, this.view.min));
  readonly #falling = $derived(falling(this.order));
  /** Nothing of what was found is more like the query than anything is. */
  readonly isDoubtful = $derived(
    this.isSearching && this.tab === "found" && this.order.calibration.standsOut === false,
  );

  readonly role = $derived(this.dataset.data?.role ?? "viewer");
  readonly canLabel = $derived(this.role !== "viewer");
  readonly canManage = $derived(this.role === "manager");
  readonly isText = $derived(this.dataset.data?.modality === "text");
  readonly canSearchWords = $derived(
    this.dataset.data?.spaces.some((space) => space.accepts.includes("text")) ?? true,
  );

  async #find(signal: AbortSignal): Promise<Order> {
    if (this.isSearching) return fetchRanking(this.id, queryBody(this.view), signal);
    const query = filterQuery(this.view.filter);
    if (this.view.order) query.set("order", this.view.order);
    return fetchIds(this.id, query, signal);
  }

  /** Look again: items came, or got their vectors. */
  async refresh() {
    const isStale = ({ queryKey }: { queryKey: readonly unknown[] }) =>
      queryKey[1] === this.id && (queryKey[2] === "order" || queryKey[2] === "stats");
    await queryClient.invalidateQueries({ queryKey: ["dataset", this.id], predicate: isStale });
    const waiting = [...this.items.items.values()].filter(({ state }) => state === "pending");
    await this.items.refresh(waiting.slice(0, 400).map(({ id }) => id));
  }

  /** Look at everything again: items are not what they were. */
  async refreshAll() {
    await this.refresh();
    await queryClient.invalidateQueries({ queryKey: ["item"] });
    await this.items.refresh(this.items.items.keys());
  }

  /** Show what words mean, beside `filter`: conditions where something is understood of them, and the rest as words. */
  async say(words: string, filter: View["filter"], options?: { replace?: boolean }) {
    const read = this.isText || !words ? null : await queryClient.fetchQuery(understood(this.id, words));
    const text = read ? read.words : words;
    this.show(
      {
        ...((text || (words && words === this.view.text)) && { text, order: "", min: null }),
        filter: read ? joined(filter, conditions(read)) : filter,
        said: read?.parts.length || read?.notes.length ? words : "",
      },
      options,
    );
  }

  /** Show something else; Back brings the present view again. */
  show(change: Partial<View>, options?: { replace?: boolean }) {
    const isSame = Object.keys(change).every((key) => key === "min");
    // What was said and how it is read belong to the words and the filter that came of it.
    const anew = {
      ...(("text" in change || "filter" in change) && { said: "" }),
      ...("text" in change && { literal: false }),
    };
    const next = { ...this.view, ...anew, ...change };
    // With the last chip the saved search is left, too.
    const saved = isSearch(next) || isFiltered(next) ? next.saved : null;
    router.go(this.#address(writeView({ ...next, saved })), options);
    this.tab = "found";
    if (!isSame) this.goTo(0);
  }

  clear() {
    this.show(EMPTY);
  }

  #address(query: URLSearchParams, item?: number): string {
    const text = query.toString();
    return `/datasets/${this.id}${item ? `/items/${item}` : ""}${text ? `?${text}` : ""}`;
  }

  /** What a search by example is for: the area or region chosen in the large view, else the item. */
  get example(): Example | null {
    const item = this.large ?? this.focused;
    if (item === null || this.large === null) return item;
    const { area, selected } = this.regions;
    if (area) return { item, ...partOf(area) };
    return selected === null ? item : { item, region: selected };
  }

  /** Address of the picture that is searched with. */
  get queryImage(): string {
    return `/api/v1/datasets/${this.id}/query-images/${this.view.image}/`;
  }

  /** Find what is like these, and nothing else than that; filters stay. */
  findSimilar(examples: Example[]) {
    if (examples.length) this.show({ ...EMPTY, filter: this.view.filter, like: examples });
  }

  /** Add examples (or counter-examples) to what is searched. */
  refine(examples: Example[], side: Side) {
    const other = side === "like" ? "unlike" : "like";
    const added = distinct([...this.view[side], ...examples]);
    const written = new Set(examples.map(writeExample));
    const left = this.view[other].filter((one) => !written.has(writeExample(one)));
    this.show({ [side]: added, [other]: left, order: "", min: null });
  }

  /** The side of the search on which an item stands as a whole. */
  sideOf(item: number): Side | null {
    const { like, unlike } = this.view;
    return like.includes(item) ? "like" : unlike.includes(item) ? "unlike" : null;
  }

  /** Make an item an example on this side, or none any more. */
  toggleExample(item: number, side: Side) {
    if (this.sideOf(item) !== side) return this.refine([item], side);
    this.show({ [side]: this.view[side].filter((one) => one !== item), order: "", min: null });
  }

  /** Search with a picture from the person's own machine. */
  async searchImage(file: File) {
    const form = new FormData();
    form.append("image", file);
    if (isFiltered(this.view)) form.append("filter", JSON.stringify(queryBody(this.view).filter));
    const order = await fetchRanking(this.id, form);
    const view = { ...EMPTY, filter: this.view.filter, image: order.image };
    queryClient.setQueryData(["dataset", this.id, "order", writeView(view).toString()], order);
    this.show(view);
  }

  /** Focus a position; the range of a following Shift begins there. */
  goTo(position: number) {
    this.focus = Math.max(0, Math.min(position, this.shown.ids.length - 1));
    this.anchor = this.focus;
  }

  scoreAt(position: number): number | null {
    const score = this.shown.scores?.[position];
    return score === undefined || Number.isNaN(score) ? null : score;
  }

  /** “top 0.8 %”: where a score stands among all that were compared. */
  placeOf(score: number): string {
    return topText(shareAtLeast(this.#falling, this.order.embedded, score));
  }

  /** Cut where it is suggested, or no more. */
  toggleSuggestedCut() {
    const { suggestedCut } = this.order.calibration;
    if (suggestedCut !== null && this.isSearching && this.tab === "found")
      this.show({ min: this.view.min === suggestedCut ? null : suggestedCut }, { replace: true });
  }

  /** The region of the item at this position that the search found, or null: the item as a whole. */
  regionAt(position: number): number | null {
    return this.shown.regions?.[position] || null;
  }

  /** That of an item which is the focused one. */
  regionOf(item: number): number | null {
    return this.focused === item ? this.regionAt(this.focus) : null;
  }

  isSelected(position: number): boolean {
    return this.selection.has(this.shown.ids[position]!, this.scoreAt(position));
  }

  toggle(position: number) {
    this.selection.toggle(this.shown.ids[position]!, this.scoreAt(position));
  }

  /** Select from the anchor to `position`. */
  selectTo(position: number) {
    const [from, to] = [Math.min(this.anchor, position), Math.max(this.anchor, position)];
    this.selection.add(this.shown.ids.subarray(from, to + 1));
    this.focus = position;
  }

  selectAll() {
    this.selection.selectAll(this.view, this.order, this.isSearching ? this.view.min : null);
  }

  clearSelection() {
    this.selection.clear();
    this.tab = "found";
    this.labelsRegions = false;
  }

  openLarge(id: number | null) {
    router.go(this.#address(writeView(this.view), id ?? undefined), {
      replace: this.large !== null && id !== null,
    });
  }

  resize(side: number) {
    this.side = side;
    localStorage.setItem(SIDE, String(side));
  }

  /** The items that an act is for: those selected, else the focused one. */
  get target(): Target {
    const { selection } = this;
    if (!selection.count) {
      const id = this.large ?? this.focused;
      return id === null
        ? { count: 0, body: { ids: [] }, ids: [] }
        : { count: 1, body: { ids: [id] }, ids: [id] };
    }
    const known = [...this.items.items.keys()];
    const ids = selection.whole ? this.#wholeOf(known) : known.filter((id) => selection.ids.has(id));
    return { count: selection.count, body: selection.toBody(), ids };
  }

  /** The region that is chosen in the large view: more particular than any selection. */
  get chosenRegion(): number | null {
    return this.large === null ? null : this.regions.selected;
  }

  /** The regions that were found in the selected items. */
  get regionTarget(): Target {
    return { ...this.selection.regionsIn(this.order), ids: [] };
  }

  /** What gets labels. */
  get labelTarget(): LabelTarget {
    const region = this.chosenRegion;
    if (region !== null) return { count: 1, body: { region_ids: [region] }, ids: [], noun: "region" };
    return this.labelsRegions && this.selection.count
      ? { ...this.regionTarget, noun: "region" }
      : { ...this.target, noun: "item" };
  }

  /** Those of `known` that a selected whole holds. */
  #wholeOf(known: number[]): number[] {
    const wanted = new Set(known);
    return this.selection.list().filter((id) => wanted.has(id));
  }
}

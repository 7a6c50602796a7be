// Server state: one client, and the queries that more than one screen reads.
import { keepPreviousData, QueryClient } from "@tanstack/svelte-query";
import {
  api,
  body,
  Problem,
  request,
  type Comparison,
  type Dataset,
  type Job,
  type Layer,
  type LayerCost,
  type NewLayer,
  type Prediction,
  type Region,
  type SavedSearch,
  type Space,
  type User,
} from "./client";

const isTemporary = (error: Error) =>
  !(error instanceof Problem) || error.status === 0 || error.status >= 500;

export const queryClient = new QueryClient({
  defaultOptions: { queries: { staleTime: 5_000, retry: (tries, error) => tries < 2 && isTemporary(error) } },
});

/** Polling: often while something runs, seldom otherwise. */
export const POLL_RUNNING_MS = 1_000;
export const POLL_IDLE_MS = 15_000;

/** Who is signed in, or null. */
export const me = () => ({
  queryKey: ["me"],
  staleTime: Infinity,
  queryFn: async (): Promise<User | null> => {
    try {
      return await body(api.GET("/api/v1/auth/me/"));
    } catch (error) {
      if (error instanceof Problem && error.status === 401) return null;
      throw error;
    }
  },
});

export const datasets = () => ({
  queryKey: ["datasets"],
  queryFn: async (): Promise<Dataset[]> =>
    (await body(api.GET("/api/v1/datasets/", { params: { query: { limit: 1000 } } }))).results,
});

export const dataset = (id: number) => ({
  queryKey: ["dataset", id],
  queryFn: () => body(api.GET("/api/v1/datasets/{id}/", { params: { path: { id } } })),
});

export const classes = (id: number) => ({
  queryKey: ["dataset", id, "classes"],
  queryFn: async () =>
    (
      await body(
        api.GET("/api/v1/datasets/{id}/classes/", { params: { path: { id }, query: { limit: 1000 } } }),
      )
    ).results,
});

/** The saved searches of a dataset. */
export const savedSearches = (id: number) => ({
  queryKey: ["dataset", id, "saved"],
  refetchInterval: POLL_IDLE_MS,
  queryFn: async () =>
    (await body(api.GET("/api/v1/datasets/{id}/searches/", { params: { path: { id } } }))).results,
});

/** What a saved search finds: among the statistics, which are asked for again after every act. */
export const savedCount = (dataset: number, { id, query, min_score }: SavedSearch) => ({
  queryKey: ["dataset", dataset, "stats", "saved", id, query, min_score],
  placeholderData: keepPreviousData,
  queryFn: ({ signal }: { signal: AbortSignal }) =>
    body(api.GET("/api/v1/searches/{id}/count/", { params: { path: { id } }, signal })),
});

export const isRunning = (job: Pick<Job, "state">): boolean =>
  job.state === "queued" || job.state === "running";

const whileRunning = (query: { state: { data?: Pick<Job, "state">[] } }) =>
  query.state.data?.some(isRunning) ? POLL_RUNNING_MS : POLL_IDLE_MS;

/** The newest jobs of a dataset. */
export const jobs = (id: number) => ({
  queryKey: ["dataset", id, "jobs"],
  refetchInterval: whileRunning,
  queryFn: async (): Promise<Job[]> =>
    (await body(api.GET("/api/v1/datasets/{id}/jobs/", { params: { path: { id }, query: { limit: 20 } } })))
      .results,
});

/** The newest jobs of all datasets of the person. */
export const allJobs = () => ({
  queryKey: ["jobs"],
  refetchInterval: whileRunning,
  queryFn: async (): Promise<Job[]> =>
    (await body(api.GET("/api/v1/jobs/", { params: { query: { limit: 20 } } }))).results,
});

export const encoders = () => ({
  queryKey: ["encoders"],
  staleTime: 60_000,
  queryFn: async () => (await body(api.GET("/api/v1/encoders/"))).results,
});

/** One encoder by its name, which need not be among those listed. */
export const encoder = (name: string) => ({
  queryKey: ["encoders", name],
  staleTime: 60_000,
  queryFn: async () => (await body(api.GET("/api/v1/encoders/", { params: { query: { name } } }))).results[0],
});

export const detectors = () => ({
  queryKey: ["detectors"],
  staleTime: 60_000,
  queryFn: async () => (await body(api.GET("/api/v1/detectors/"))).results,
});

/** One detector by its name, which need not be among those listed. */
export const detector = (name: string) => ({
  queryKey: ["detectors", name],
  staleTime: 60_000,
  queryFn: async () =>
    (await body(api.GET("/api/v1/detectors/", { params: { query: { name } } }))).results[0],
});

/** Counting takes a part of a second where there are very many. */
const MANY = 200_000;

function whileFilling(query: { state: { data?: Space[] } }): number {
  const found = query.state.data ?? [];
  if (!found.some(({ job, pending }) => job !== null || pending > 0)) return POLL_IDLE_MS;
  return found.some(({ total }) => total > MANY) ? 5 * POLL_RUNNING_MS : POLL_RUNNING_MS;
}

export const spaces = (id: number) => ({
  queryKey: ["dataset", id, "spaces"],
  refetchInterval: whileFilling,
  queryFn: async (): Promise<Space[]> =>
    (await body(api.GET("/api/v1/datasets/{id}/spaces/", { params: { path: { id } } }))).results,
});

/** The newest comparisons of encoders on a dataset. */
export const comparisons = (id: number) => ({
  queryKey: ["dataset", id, "comparisons"],
  refetchInterval: whileRunning,
  queryFn: async (): Promise<Comparison[]> =>
    (
      await body(
        api.GET("/api/v1/datasets/{id}/encoder-comparisons/", {
          params: { path: { id }, query: { limit: 20 } },
        }),
      )
    ).results,
});

const isAtWork = ({ state, pending }: Layer) =>
  pending > 0 || state === "fetching" || state === "preparing" || state === "dropping";

/** What kinds of regions the images of a dataset have. */
export const layers = (id: number) => ({
  queryKey: ["dataset", id, "layers"],
  refetchInterval: (query: { state: { data?: Layer[] } }) =>
    query.state.data?.some(isAtWork) ? POLL_RUNNING_MS : POLL_IDLE_MS,
  queryFn: async (): Promise<Layer[]> =>
    (await body(api.GET("/api/v1/datasets/{id}/region-layers/", { params: { path: { id } } }))).results,
});

/** What regions would cost. The server tries some images for it, which takes seconds. */
export const layerCost = (id: number, asked: NewLayer) => ({
  queryKey: ["dataset", id, "layer cost", asked],
  staleTime: 60_000,
  queryFn: ({ signal }: { signal: AbortSignal }): Promise<LayerCost> =>
    body(
      api.POST("/api/v1/datasets/{id}/region-layers/estimate/", {
        params: { path: { id } },
        body: asked,
        signal,
      }),
    ),
});

const PAGE = 1000;

/** All pages of a list. */
async function all<T>(address: string): Promise<T[]> {
  const found: T[] = [];
  for (let next: string | null = address; next;) {
    const page = (await (await request(next)).json()) as { results: T[]; next: string | null };
    found.push(...page.results);
    next = page.next;
  }
  return found;
}

export const itemRegions = (id: number) => ({
  queryKey: ["item", id, "regions"],
  queryFn: () => all<Region>(`/api/v1/items/${id}/regions/?limit=${PAGE}`),
});

export const itemPredictions = (id: number) => ({
  queryKey: ["item", id, "predictions"],
  queryFn: () => all<Prediction>(`/api/v1/items/${id}/predictions/?limit=${PAGE}`),
});

// The webhooks of the registries, each in its own format. Nothing in them is trusted: an event names what may have changed,
// and upstream is asked.
import { z } from "zod";
import type { WebhookSource } from "../../ports/event.ts";

/** A change as the sender wrote it; names are unchecked. */
export interface WebhookEvent {
  /** The same for an event that is sent again. */
  readonly id: string | undefined;
  /** `confirm`: ask before it is served again; `drop`: it is gone. */
  readonly what: "confirm" | "drop";
  readonly repository: string;
  /** Artifactory's own repository (`docker-local`), which may stand before `repository` or be left out of it. */
  readonly storage: string | undefined;
  readonly tag: string | undefined;
  readonly digest: string | undefined;
  readonly upstream: string | undefined;
}

type Change = Pick<WebhookEvent, "what" | "repository"> & Partial<WebhookEvent>;

/** The changes in `json`, in the format of `source`: none when it is about something else, undefined when it is not in the format. */
export function readWebhook(source: WebhookSource, json: unknown): readonly WebhookEvent[] | undefined {
  return readers[source](json)?.map((change) => ({
    id: undefined,
    storage: undefined,
    tag: undefined,
    digest: undefined,
    upstream: undefined,
    ...change,
  }));
}

const readers: Readonly<Record<WebhookSource, (json: unknown) => readonly Change[] | undefined>> = {
  distribution: readEnvelope,
  artifactory: readArtifactory,
  harbor: readHarbor,
  dockerhub: readDockerHub,
  quay: readQuay,
  generic: readGeneric,
};

const text = z.string();
const maybe = z.string().optional().catch(undefined);

/** The members of `json` as the schema has them; undefined when they are not so. */
function read<T extends z.ZodType>(schema: T, json: unknown): z.output<T> | undefined {
  const { data } = schema.safeParse(json);
  return data as z.output<T> | undefined;
}

// ---- CNCF Distribution, and others with its format ------------------------------------------------------------

const envelope = z.object({ events: z.array(z.unknown()) });
const envelopeEvent = z.object({
  id: maybe,
  action: text,
  target: z.object({ repository: text, tag: maybe, digest: maybe }),
});

function readEnvelope(json: unknown): Change[] | undefined {
  return read(envelope, json)?.events.flatMap((each): Change[] => {
    const event = read(envelopeEvent, each);
    if (event === undefined || (event.action !== "push" && event.action !== "delete")) return [];
    return [{ id: event.id, what: event.action === "push" ? "confirm" : "drop", ...event.target }];
  });
}

// ---- Artifactory ------------------------------------------------------------------------------------------------

const artifactory = z.object({
  domain: text,
  event_type: text,
  data: z.object({ repo_key: text, path: maybe, image_name: maybe, tag: maybe }),
});
/** In domain `docker` and in domain `artifact`; a promotion or a move names one end only, which is asked about. */
const artifactoryChanges = new Set(["pushed", "promoted", "deployed", "moved", "copied"]);

function readArtifactory(json: unknown): Change[] | undefined {
  const event = read(artifactory, json);
  if (event === undefined) return undefined;
  const { domain, event_type: type, data } = event;
  const named =
    data.image_name === undefined ? imageOfPath(data.path) : { repository: data.image_name, tag: data.tag };
  if ((domain !== "docker" && domain !== "artifact") || named === undefined) return [];
  if (type === "deleted") return [{ what: "drop", storage: data.repo_key, ...named }];
  return artifactoryChanges.has(type) ? [{ what: "confirm", storage: data.repo_key, ...named }] : [];
}

/** `team/app/1.0/manifest.json` is where Artifactory keeps a manifest; of other files nothing follows. */
function imageOfPath(path = ""): { repository: string; tag?: string; digest?: string } | undefined {
  const match = /^(.+)\/([^/]+)\/(?:list\.)?manifest\.json$/.exec(path);
  const [, repository, last] = match ?? [];
  if (repository === undefined || last === undefined) return undefined;
  // A digest is a directory like a tag, with two underscores in place of its colon.
  const digest = last.replace("__", ":");
  return digest.includes(":") ? { repository, digest } : { repository, tag: last };
}

// ---- Harbor ----------------------------------------------------------------------------------------------------

const harborData = z.object({
  resources: z.array(z.object({ digest: maybe, tag: maybe })),
  repository: z.object({ repo_full_name: text }),
});
const harbor = z.object({ type: text, event_data: z.unknown() });
const harborCloudEvent = z.object({
  type: z.templateLiteral(["harbor.", text]),
  id: maybe,
  data: z.unknown(),
});
const harborTypes: ReadonlyMap<string, WebhookEvent["what"]> = new Map([
  ["PUSH_ARTIFACT", "confirm"],
  ["DELETE_ARTIFACT", "drop"],
  ["harbor.artifact.pushed", "confirm"],
  ["harbor.artifact.deleted", "drop"],
]);

function readHarbor(json: unknown): Change[] | undefined {
  const event = read(harborCloudEvent, json);
  const old = event === undefined ? read(harbor, json) : undefined;
  const type = event?.type ?? old?.type;
  if (type === undefined) return undefined;
  const what = harborTypes.get(type);
  if (what === undefined) return [];
  const data = read(harborData, event === undefined ? old?.event_data : event.data);
  if (data === undefined) return undefined;
  const repository = data.repository.repo_full_name;
  // One event may be about several resources, so its id alone does not tell them apart.
  return data.resources.map((resource) => ({
    id: event?.id === undefined ? undefined : `${event.id} ${resource.tag} ${resource.digest}`,
    what,
    repository,
    ...resource,
  }));
}

// ---- Docker Hub, Quay, and the generic format ------------------------------------------------------------------

const dockerHub = z.object({
  push_data: z.object({ tag: text }),
  repository: z.object({ repo_name: text }),
});

function readDockerHub(json: unknown): Change[] | undefined {
  const push = read(dockerHub, json);
  return push && [{ what: "confirm", repository: push.repository.repo_name, tag: push.push_data.tag }];
}

const quay = z.object({
  repository: text,
  // Older ones are a mapping from the tag to an image.
  updated_tags: z.union([z.array(text), z.record(text, z.unknown()).transform(Object.keys)]),
});

function readQuay(json: unknown): Change[] | undefined {
  const push = read(quay, json);
  return push?.updated_tags.map((tag) => ({ what: "confirm", repository: push.repository, tag }));
}

const generic = z.object({
  id: maybe,
  upstream: text.optional(),
  repository: text,
  tag: text.optional(),
  digest: text.optional(),
  action: z.enum(["push", "delete"]),
});

function readGeneric(json: unknown): Change[] | undefined {
  const event = read(generic, json);
  if (event === undefined) return undefined;
  const { action, ...named } = event;
  return [{ what: action === "push" ? "confirm" : "drop", ...named } as Change];
}

// The OpenAPI 3.1 document of the API, made of the schemas its answers are tested against.
import { z } from "zod";
import { blockChangeSchema, blocksSchema, newBlockSchema } from "../block/block-schema.ts";
import { drillSchema, newDrillSchema } from "../drill/drill-schema.ts";
import { tagReportSchema } from "../history/tag-report-schema.ts";
import { importedBlobSchema, importedManifestSchema } from "../imports/import-schema.ts";
import { jobSchema, jobsSchema, newJobSchema } from "../jobs/job-schema.ts";
import { newPinSchema, pinSchema, pinsSchema, unpinnedSchema } from "../pins/pin-schema.ts";
import { newPurgeSchema, newRefreshSchema, purgeSchema, refreshSchema } from "../purge/purge-schema.ts";
import { longestReference } from "../stats/image-reference.ts";
import { errorSchema } from "./api-error.ts";
import { datacenterSchema, nodeSchema } from "./datacenter-schema.ts";
import { imageSchema } from "./image-schema.ts";
import { readinessSchema } from "./readiness-schema.ts";
import { savingsSchema } from "./savings-schema.ts";
import { statsSchema } from "./stats-schema.ts";

/** A question that can be asked: GET of a path. */
export interface Operation {
  readonly id: string;
  readonly summary: string;
  /** Name of what it answers, of `answers`. */
  readonly answers: keyof typeof answers;
  /** Its parameters in the query: what each means, with an example. Required unless `optional`. */
  readonly query: Readonly<
    Record<string, { readonly description: string; readonly example: string; readonly optional?: true }>
  >;
}

const answers = {
  Node: nodeSchema,
  Datacenter: datacenterSchema,
  Stats: statsSchema,
  Image: imageSchema,
  History: tagReportSchema,
  Jobs: jobsSchema,
  Job: jobSchema,
  NewJob: newJobSchema,
  Pins: pinsSchema,
  Pin: pinSchema,
  NewPin: newPinSchema,
  Unpinned: unpinnedSchema,
  Blocks: blocksSchema,
  BlockChange: blockChangeSchema,
  NewBlock: newBlockSchema,
  Purge: purgeSchema,
  NewPurge: newPurgeSchema,
  Refresh: refreshSchema,
  NewRefresh: newRefreshSchema,
  ImportedBlob: importedBlobSchema,
  ImportedManifest: importedManifestSchema,
  Readiness: readinessSchema,
  Drill: drillSchema,
  NewDrill: newDrillSchema,
  Savings: savingsSchema,
  Error: errorSchema,
} as const satisfies Record<string, z.ZodType>;

/** By path. */
export const operations: Readonly<Record<string, Operation>> = {
  "/api/v1/node": {
    id: "getNode",
    summary: "This node: name, version, state, traffic, store, upstreams",
    answers: "Node",
    query: {},
  },
  "/api/v1/datacenter": {
    id: "getDatacenter",
    summary: "All nodes that this one knows of, and their sums. Nodes that are gone stay listed for a day",
    answers: "Datacenter",
    query: {},
  },
  "/api/v1/stats": {
    id: "getStats",
    summary: "What the status page of this node shows; members are added, none is renamed or removed",
    answers: "Stats",
    query: {},
  },
  "/api/v1/why": {
    id: "explainImage",
    summary: "What is known of an image, and which of its parts are here. Upstream is not asked",
    answers: "Image",
    query: {
      reference: { description: "[upstream/]repository:tag or @digest", example: "team/app:1.0" },
    },
  },
  "/api/v1/history": {
    id: "getHistory",
    summary:
      "What a tag has named, and when, as the nodes of the datacenter have seen it. Upstream is not asked",
    answers: "History",
    query: { reference: { description: "[upstream/]repository:tag", example: "team/app:1.0" } },
  },
  "/api/v1/readiness": {
    id: "getReadiness",
    summary: "Which images pulled lately, through any node, could be pulled if their registries were gone",
    answers: "Readiness",
    query: {
      days: {
        description: "How long ago they were pulled at most: a whole number from 1 to 365",
        example: "7",
      },
    },
  },
  "/api/v1/savings": {
    id: "getSavings",
    summary: "What the nodes of the datacenter have saved in a month, by team, together and each",
    answers: "Savings",
    query: {
      month: {
        description: "Of UTC, such as 2026-11, or all: the last 13 with any requests. Left out: this one",
        example: "2026-11",
        optional: true,
      },
    },
  },
};

/** `version`: of this program. */
export function openApiDocument(version: string): object {
  const content = (name: keyof typeof answers) => ({
    "application/json": { schema: { $ref: refTo(name) } },
  });
  const paths = Object.entries(operations).map(([path, { id, summary, answers, query }]) => {
    const parameters = Object.entries(query).map(([name, { description, example, optional }]) => ({
      name,
      in: "query",
      required: optional !== true,
      description,
      example,
      schema: { type: "string", maxLength: longestReference },
    }));
    const responses = {
      "200": { description: "The answer", content: content(answers) },
      default: { description: "What was wrong", content: content("Error") },
    };
    return [path, { get: { operationId: id, summary, parameters, responses } }];
  });
  return {
    openapi: "3.1.1",
    info: {
      title: "Entrepôt operations",
      version,
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
      description:
        "Of the ops listener, by the rules of its other pages. Times end in At and are milliseconds since the epoch, durations in Ms, sizes in Bytes; shares go from 0 to 1; what is not known is null. Within v1 members may be added to answers.",
    },
    servers: [{ url: "../.." }],
    security: [{}, { password: [] }, { token: [] }],
    paths: {
      ...Object.fromEntries(paths),
      ...jobPaths(content),
      ...pinPaths(content),
      ...blockPaths(content),
      ...purgePaths(content),
      ...importPaths(content),
    },
    components: {
      schemas: componentSchemas(),
      securitySchemes: {
        password: { type: "http", scheme: "basic" },
        token: { type: "http", scheme: "bearer" },
      },
    },
  };
}

/** Jobs are begun and ended, too. */
function jobPaths(content: (name: keyof typeof answers) => object): object {
  const wrong = { default: { description: "What was wrong", content: content("Error") } };
  const answered = (name: keyof typeof answers, status = "200") => ({
    [status]: { description: "The answer", content: content(name) },
    ...wrong,
  });
  const id = { name: "id", in: "path", required: true, schema: { type: "string", maxLength: 100 } };
  return {
    "/api/v1/jobs": {
      get: {
        operationId: "listJobs",
        summary: "Jobs that fetch images ahead of clients, the newest first; the last 100 that are over",
        parameters: [],
        responses: answered("Jobs"),
      },
      post: {
        operationId: "beginJob",
        summary:
          "Fetches whole images onto this node's disk: their platforms, signatures and referrers. Of either images or fromNode",
        parameters: [],
        requestBody: { required: true, content: content("NewJob") },
        responses: answered("Job", "201"),
      },
    },
    "/api/v1/drill": {
      get: {
        operationId: "getDrill",
        summary: "The drill that is on: for which clients every upstream counts as away, and until when",
        parameters: [],
        responses: answered("Drill"),
      },
      post: {
        operationId: "beginDrill",
        summary: "Begins a drill on all nodes, in the place of one that is on",
        parameters: [],
        requestBody: { required: true, content: content("NewDrill") },
        responses: answered("Drill", "201"),
      },
      delete: {
        operationId: "endDrill",
        summary:
          "Ends the drill on all nodes. Needs content-type: application/json or a header x-entrepot-request",
        responses: answered("Drill"),
      },
    },
    "/api/v1/jobs/{id}": {
      parameters: [id],
      get: { operationId: "getJob", summary: "One job with its images", responses: answered("Job") },
      delete: {
        operationId: "endJob",
        summary:
          "Ends a job; what it has fetched stays. Needs content-type: application/json or a header x-entrepot-request",
        responses: answered("Job"),
      },
    },
  };
}

function answeredWith(content: (name: keyof typeof answers) => object) {
  return (name: keyof typeof answers, status = "200") => ({
    [status]: { description: "The answer", content: content(name) },
    default: { description: "What was wrong", content: content("Error") },
  });
}

/** Pins are made and ended, too. */
function pinPaths(content: (name: keyof typeof answers) => object): object {
  const answered = answeredWith(content);
  const image = {
    name: "image",
    in: "query",
    required: true,
    description: "[upstream/]repository:tag or @digest",
    example: "team/app:1.0",
    schema: { type: "string", maxLength: longestReference },
  };
  return {
    "/api/v1/pins": {
      get: {
        operationId: "listPins",
        summary: "Pinned images: what of them is here, and which do not fit in the budget",
        parameters: [],
        responses: answered("Pins"),
      },
      post: {
        operationId: "pinImage",
        summary:
          "Pins an image in all nodes: it is fetched, confirmed regularly, and never evicted. 409: over the budget",
        parameters: [],
        requestBody: { required: true, content: content("NewPin") },
        responses: answered("Pin", "201"),
      },
      delete: {
        operationId: "unpinImage",
        summary:
          "Ends a pin in all nodes; the image stays until it is evicted. Needs content-type: application/json or a header x-entrepot-request",
        parameters: [image],
        responses: answered("Unpinned"),
      },
    },
  };
}

/** What is given to nobody. */
function blockPaths(content: (name: keyof typeof answers) => object): object {
  const answered = answeredWith(content);
  const digest = {
    name: "digest",
    in: "query",
    required: true,
    description: "As it was blocked",
    example: `sha256:${"0".repeat(64)}`,
    schema: { type: "string", maxLength: 140 },
  };
  return {
    "/api/v1/blocks": {
      get: {
        operationId: "listBlocks",
        summary: "Blocked digests, with their reasons: of commands and of the file of this node",
        parameters: [],
        responses: answered("Blocks"),
      },
      post: {
        operationId: "blockDigest",
        summary:
          "Blocks a digest on all nodes: of a manifest, a config or a layer. The answer tells which nodes have confirmed it. 409: there are too many",
        parameters: [],
        requestBody: { required: true, content: content("NewBlock") },
        responses: answered("BlockChange"),
      },
      delete: {
        operationId: "unblockDigest",
        summary:
          "Ends that on all nodes. Needs content-type: application/json or a header x-entrepot-request. 409: only the file of this node blocks it",
        parameters: [digest],
        responses: answered("BlockChange"),
      },
    },
  };
}

/** What is deleted or asked for again on demand. */
function purgePaths(content: (name: keyof typeof answers) => object): object {
  const post = (
    operationId: string,
    summary: string,
    asks: keyof typeof answers,
    says: keyof typeof answers,
  ) => ({
    post: {
      operationId,
      summary,
      parameters: [],
      requestBody: { required: true, content: content(asks) },
      responses: {
        "200": { description: "The answer", content: content(says) },
        default: { description: "What was wrong", content: content("Error") },
      },
    },
  });
  return {
    "/api/v1/purge": post(
      "purge",
      "Deletes a tag, an image or a repository from the caches of all nodes, or tells what would go. 409 when pinned images need it",
      "NewPurge",
      "Purge",
    ),
    "/api/v1/refresh": post(
      "refresh",
      "Asks upstream now what a tag is, or hashes what is stored of an image, on all nodes",
      "NewRefresh",
      "Refresh",
    ),
  };
}

/** Images that are brought as files. */
function importPaths(content: (name: keyof typeof answers) => object): object {
  const answered = (name: keyof typeof answers, status: string) => ({
    [status]: { description: "The answer", content: content(name) },
    default: { description: "What was wrong", content: content("Error") },
  });
  const bytes = (type: string) => ({ required: true, content: { [type]: { schema: { type: "string" } } } });
  const digest = {
    name: "digest",
    in: "path",
    required: true,
    schema: { type: "string", pattern: "^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$" },
  };
  const query = (name: string, description: string, example: string, required = true) => ({
    name,
    in: "query",
    required,
    description,
    example,
    schema: { type: "string", maxLength: longestReference },
  });
  return {
    "/api/v1/imports/blobs/{digest}": {
      parameters: [digest],
      get: {
        operationId: "getImportedBlob",
        summary: "Whether a blob or manifest is here, so that it need not be brought",
        responses: answered("ImportedBlob", "200"),
      },
      put: {
        operationId: "importBlob",
        summary:
          "Takes a blob whose bytes have the digest; nobody may read it before a manifest that names it has come. Needs content-length and a header x-entrepot-request. 507: there is no room",
        requestBody: bytes("application/octet-stream"),
        responses: answered("ImportedBlob", "201"),
      },
    },
    "/api/v1/imports/manifests/{digest}": {
      parameters: [
        digest,
        query("upstream", "Name of an upstream of this mirror", "hub"),
        query("repository", "By the name it has there", "team/app"),
        query("tag", "Names the manifest from now on", "1.0", false),
      ],
      put: {
        operationId: "importManifest",
        summary:
          "Takes a manifest whose configs and layers are here, and serves all of them in its repository. Its content-type is the manifest's. Needs a header x-entrepot-request. 404: no such upstream; 409: parts are missing",
        requestBody: bytes("application/vnd.oci.image.manifest.v1+json"),
        responses: answered("ImportedManifest", "201"),
      },
    },
  };
}

function refTo(name: string): string {
  return `#/components/schemas/${name}`;
}

function componentSchemas(): object {
  return Object.fromEntries(
    Object.entries(answers).map(([name, schema]) => {
      const { $schema, ...made } = z.toJSONSchema(schema, {
        // What is asked may leave out what has a default.
        io: name.startsWith("New") ? "input" : "output",
        // Members may be added: clients must not refuse them.
        override: ({ jsonSchema }) => {
          delete jsonSchema.additionalProperties;
        },
      });
      return [name, made];
    }),
  );
}

// What /api/v1/purge and /api/v1/refresh take and answer, for programs. Members are added, none is renamed or removed. Times end in
// At and are milliseconds since the epoch, sizes in Bytes; what is not known is null.
import { z } from "zod";
import { roles } from "../../oci/descriptor.ts";
import { longestReference } from "../stats/image-reference.ts";

const count = z.number().nonnegative();
const maybe = count.nullable();
const reference = z.string().min(1).max(longestReference);

/** Tags and parts that are listed; the sums are of all. */
export const maxListed = 500;
export const maxNodes = 65;

/** The body of POST /api/v1/purge. */
export const newPurgeSchema = z.strictObject({
  /** `repository:tag`, `repository@digest`, a whole `repository`, or a digest alone: the image in all repositories. */
  reference,
  /** Only tells what would go. */
  dryRun: z.boolean().default(false),
  /** Deletes what pinned images need, too. */
  force: z.boolean().default(false),
});

/** The body of POST /api/v1/refresh. */
export const newRefreshSchema = z.strictObject({ reference });

const part = z.strictObject({
  digest: z.string(),
  role: z.enum(roles),
  sizeBytes: maybe,
  /** On the disk of the node that answers. */
  here: z.boolean(),
});

export const purgeSchema = z.strictObject({
  schema: z.literal(1),
  /** Null of a dry run. */
  id: z.string().nullable(),
  at: count,
  kind: z.enum(["tag", "image", "repository"]),
  upstream: z.string().nullable(),
  repository: z.string().nullable(),
  tag: z.string().nullable(),
  digest: z.string().nullable(),
  chosenBy: z.string().nullable(),
  tags: z
    .array(
      z.strictObject({
        upstream: z.string(),
        repository: z.string(),
        tag: z.string(),
        digest: z.string().nullable(),
      }),
    )
    .max(maxListed),
  goes: z.array(part).max(maxListed),
  stays: z.array(part.extend({ why: z.string() })).max(maxListed),
  /** Of the node that answers: bytes and parts on its disk; `images` are manifests. */
  sums: z.strictObject({
    tags: count,
    images: count,
    layers: count,
    bytes: count,
    staysParts: count,
    staysBytes: count,
  }),
  /** There is more than is looked at: another purge takes the rest. */
  truncated: z.boolean(),
  /** Pinned images that need some of what goes. */
  pinnedBy: z.array(z.string()).max(10),
  /** Whether objects in S3 go, too. */
  s3: z.boolean(),
  nodes: z
    .array(
      z.strictObject({
        name: z.string(),
        self: z.boolean(),
        /**
         * `planned`: of a dry run. `done`. `partly`: something could not be reached and is tried again. `away`: it does not answer, and
         * does the same when it is back. `told`: it was told, and has not said what came of it.
         */
        state: z.enum(["planned", "done", "partly", "away", "told"]),
        /** Parts on its disk that go or have gone, and their bytes. */
        parts: maybe,
        bytes: maybe,
      }),
    )
    .max(maxNodes),
});

export type PurgeReport = z.infer<typeof purgeSchema>;

export const refreshSchema = z.strictObject({
  schema: z.literal(1),
  at: count,
  upstream: z.string(),
  repository: z.string(),
  reference: z.string(),
  chosenBy: z.string(),
  nodes: z
    .array(
      z.strictObject({
        name: z.string(),
        self: z.boolean(),
        /**
         * Of a tag: `unchanged`, `moved`, `new` (it was not known), `gone` (upstream does not have it, or refuses it). Of a digest: `sound`,
         * `fetched` (some was missing or wrong, and has come again), `running` (it goes on). `failed`: see `problem`. `away`: it does
         * not answer.
         */
        state: z.enum(["unchanged", "moved", "new", "gone", "sound", "fetched", "running", "failed", "away"]),
        /** What the tag named before, and names now. */
        was: z.string().nullable(),
        is: z.string().nullable(),
        /** Of a digest: parts hashed, those found wrong or missing, and bytes hashed. */
        checked: count,
        wrong: count,
        bytes: count,
        problem: z.string().nullable(),
      }),
    )
    .max(maxNodes),
});

export type RefreshReport = z.infer<typeof refreshSchema>;
export type RefreshedNode = RefreshReport["nodes"][number];

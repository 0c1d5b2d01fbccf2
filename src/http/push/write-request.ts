// The writes of the distribution API: which methods a route takes, and what a write has done once upstream has accepted
// it. Every other method is 405, so that none is ever let through as another one (CVE-2026-61833 class).
import type { IncomingMessage } from "node:http";
import { type Digest, parseDigest } from "../../oci/digest.ts";
import { bareMediaType, mediaTypes } from "../../oci/media-type.ts";
import type { Repository, Tag } from "../../oci/name.ts";
import type { Reference } from "../../oci/reference.ts";
import type { Route } from "../../oci/route.ts";
import type { Upload } from "../../oci/upload.ts";
import type { EventContent, EventWrite } from "../../ports/event.ts";
import type { Actions } from "../../ports/push.ts";

/** A write that may be sent on. */
export type WriteRequest = { readonly method: string; readonly repository: Repository } & (
  | { readonly kind: "manifest"; readonly reference: Reference; readonly tags: readonly Tag[] }
  | { readonly kind: "blob"; readonly digest: Digest }
  | { readonly kind: "upload"; readonly upload: Upload }
);

const reads = ["GET", "HEAD"] as const;

/** Undefined when the route does not take the method. */
export function writeRequest(route: Route, method: string): WriteRequest | undefined {
  if (!writesOf(route).includes(method)) return undefined;
  switch (route.kind) {
    case "manifest":
      return {
        method,
        kind: "manifest",
        repository: route.repository,
        reference: route.reference,
        tags: method === "PUT" ? (route.tags ?? []) : [],
      };
    case "blob":
      return { method, kind: "blob", repository: route.repository, digest: route.digest };
    case "upload":
      return { method, kind: "upload", repository: route.repository, upload: route.upload };
    default:
      return undefined;
  }
}

/** The value of Allow for the route. */
export function allowedMethods(route: Route): string {
  return [...(route.kind === "upload" ? [] : reads), ...writesOf(route)].join(", ");
}

/** The rights the write needs upstream. */
export function actionsOf({ method }: WriteRequest): Actions {
  return method === "DELETE" ? "*" : "pull,push";
}

/** GET, HEAD and DELETE have no body here, whatever was sent with them. */
export function takesBody(method: string): boolean {
  return method === "POST" || method === "PATCH" || method === "PUT";
}

function writesOf(route: Route): readonly string[] {
  switch (route.kind) {
    case "manifest":
      return ["PUT", "DELETE"];
    case "blob":
      return ["DELETE"];
    case "upload":
      return route.upload.session === undefined ? ["POST"] : [...reads, "PATCH", "PUT", "DELETE"];
    default:
      return [];
  }
}

/** What an accepted write did, for the event. */
export interface Written {
  readonly write: EventWrite | undefined;
  readonly content: EventContent | undefined;
}

/**
 * What `write`, sent as `request`, did, going by upstream's `answer` with a `status` from 200 to 299. Both undefined
 * for a step of an upload that does not complete it.
 */
export function writtenBy(
  request: IncomingMessage,
  write: WriteRequest,
  answer: IncomingMessage,
  status: number,
): Written {
  switch (write.kind) {
    case "upload": {
      const { mount, from } = write.upload;
      const blob = uploadedBlob(write, answer, status);
      if (blob === undefined) return { write: undefined, content: undefined };
      return {
        write: mount === undefined ? { action: "push", from: undefined } : { action: "mount", from },
        content: { digest: blob, mediaType: mediaTypes.octetStream, size: undefined },
      };
    }
    case "blob": {
      const content = { digest: write.digest, mediaType: undefined, size: undefined };
      return { write: { action: "delete", from: undefined }, content };
    }
    case "manifest": {
      const pushed = write.method === "PUT";
      const { reference } = write;
      const said = parseDigest(String(answer.headers["docker-content-digest"]));
      const digest = reference.kind === "digest" ? reference.digest : said;
      const length = pushed ? request.headers["content-length"] : undefined;
      const mediaType = pushed ? bareMediaType(request.headers["content-type"]) : undefined;
      const size = length === undefined ? undefined : Number(length);
      return {
        write: { action: pushed ? "push" : "delete", from: undefined },
        content: digest === undefined ? undefined : { digest, mediaType, size },
      };
    }
  }
}

/**
 * The blob that upstream's answer to an upload says is in the repository now; undefined when it does not say so. Only
 * 201 says so, as the answer to what completes an upload (PUT with `digest`, POST with `mount` or `digest`), and only
 * when it names no other blob. What the client wrote is not enough: it grants nothing (docs/design.md, rule 3).
 */
export function uploadedBlob(
  write: WriteRequest,
  { headers }: IncomingMessage,
  status: number,
): Digest | undefined {
  if (write.kind !== "upload" || status !== 201) return undefined;
  const { digest, mount } = write.upload;
  const asked = write.method === "POST" ? (mount ?? digest) : write.method === "PUT" ? digest : undefined;
  const said = headers["docker-content-digest"];
  return said === undefined || said === asked ? asked : undefined;
}

// What a write that upstream has taken did, for the event.
import type { IncomingMessage } from "node:http";
import { type Digest, parseDigest } from "../../oci/digest.ts";
import { bareMediaType, mediaTypes } from "../../oci/media-type.ts";
import type { EventContent, EventWrite } from "../../ports/event.ts";
import type { WriteRequest } from "./write-request.ts";

export interface Written {
  readonly write: EventWrite | undefined;
  readonly content: EventContent | undefined;
}

/** What is known of it; nothing of a step on the way, as each part of an upload is. `status` is 200 to 299. */
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
 * The blob that is in the repository since upstream's answer to an upload: only where that says so, 201 to what
 * completes an upload (PUT with `digest`, POST with `mount` or `digest`), and names no other blob. What a client wrote
 * beside that grants nothing (docs/design.md, rule 3).
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

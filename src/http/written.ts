// What a write that upstream has taken did, for the event.
import type { IncomingMessage } from "node:http";
import { parseDigest } from "../oci/digest.ts";
import { bareMediaType, mediaTypes } from "../oci/media-type.ts";
import type { EventContent, EventWrite } from "../telemetry/event.ts";
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
      const { digest, mount, from } = write.upload;
      const blob = digest ?? mount;
      if (status !== 201 || blob === undefined) return { write: undefined, content: undefined };
      return {
        write: digest === undefined ? { action: "mount", from } : { action: "push", from: undefined },
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

// What may be written, and what it takes: the methods of the distribution API by route. Everything else is 405, so
// that no method is ever let through as another's (CVE-2026-61833 class).
import type { Digest } from "../../oci/digest.ts";
import type { Repository, Tag } from "../../oci/name.ts";
import type { Reference } from "../../oci/reference.ts";
import type { Route } from "../../oci/route.ts";
import type { Upload } from "../../oci/upload.ts";
import type { Actions } from "../../ports/push.ts";

/** A request that may pass. */
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

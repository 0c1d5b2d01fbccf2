// The hash of a request's body, given to the signature instead of being computed once more. The server compares it
// with what arrived ("Authenticating Requests: AWS Signature Version 4", x-amz-content-sha256), so no byte changes on
// the way unnoticed, also where the server knows no checksum headers.

interface Building {
  readonly request: unknown;
}

/** Options of a command's middleware stack for what `payloadHash` makes. */
export const payloadHashStep = { step: "build", name: "entrepotPayloadHash" } as const;

/** A middleware that says the sha256 of the body, in hex. */
export function payloadHash(sha256: string) {
  return <A extends Building, R>(next: (args: A) => Promise<R>) =>
    (args: A): Promise<R> => {
      const { headers } = args.request as { headers: Record<string, string> };
      headers["x-amz-content-sha256"] = sha256;
      return next(args);
    };
}

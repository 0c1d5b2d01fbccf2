// The SDK's client, set up so that nothing of it waits, retries, hashes or prints on its own account.
import { S3Client, type S3ClientConfig } from "@aws-sdk/client-s3";
import type { S3Config } from "../../config/config.ts";

/** Sockets to S3: one for each request the bucket's own bounds let through, so that none ever waits for a socket. */
const maxSockets = 512;
/**
 * The client. Opens nothing: addresses, sockets and credentials are looked up with the first request. `connectTimeout`
 * in milliseconds.
 */
export function createS3Client(config: S3Config, connectTimeout: number): S3Client {
  const { endpoint, region, pathStyle } = config;
  return new S3Client({
    region,
    forcePathStyle: pathStyle,
    ...(endpoint === undefined ? {} : { endpoint: endpoint.href }),
    ...credentialsOf(config),
    // One layer retries (s3-bucket.ts): the SDK's own pauses hear of no signal.
    maxAttempts: 1,
    // Otherwise bodies are sent in chunks with trailers, which Ceph (411) and Swift (501) refuse.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    // With it the SDK opens a new connection for each upload of 2 MiB or more.
    expectContinueHeader: false,
    requestHandler: {
      connectionTimeout: connectTimeout,
      // Whole requests and silent bodies have bounds of ours, which know what they wait for.
      socketTimeout: 0,
      httpAgent: { keepAlive: true, maxSockets },
      httpsAgent: { keepAlive: true, maxSockets },
    },
  });
}

/** Without a key pair of our own the SDK's chain (environment, files, web identity, instance role) is asked. */
function credentialsOf({ credentials }: S3Config): Pick<S3ClientConfig, "credentials"> {
  if (credentials === undefined) return {};
  const { accessKeyId, secretAccessKey } = credentials;
  return {
    credentials: async () => ({
      accessKeyId: (await accessKeyId.read()).reveal(),
      secretAccessKey: (await secretAccessKey.read()).reveal(),
      // The SDK keeps what does not expire for ever, and the files may change.
      expiration: new Date(),
    }),
  };
}

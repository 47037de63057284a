// When to try again: growing waits with full jitter, and a server's own word before ours.

import { Code, ConnectError } from "@connectrpc/connect";

import { RetryInfoSchema } from "../../../gen/web/google/rpc/error_details_pb.js";

export interface Backoff {
  /** Wait before the first repetition, in milliseconds; doubled with each one after. */
  firstMs: number;
  /** Longest wait, in milliseconds. */
  maxMs: number;
}

export const DEFAULT_BACKOFF: Backoff = { firstMs: 200, maxMs: 15_000 };

const PASSING = new Set([
  Code.Unavailable,
  Code.ResourceExhausted,
  Code.Aborted,
  Code.DeadlineExceeded,
  // A browser reports a cut connection as one of these.
  Code.Unknown,
  Code.Internal,
]);

/** Whether the same call may succeed later without anybody changing anything. */
export function isPassing(error: unknown): boolean {
  return PASSING.has(ConnectError.from(error).code);
}

/**
 * How long to wait before repetition *attempt* (from 1), in milliseconds.
 *
 * A `google.rpc.RetryInfo` in *error* is the least; *chance* in [0, 1) is the jitter.
 */
export function waitMs(
  attempt: number,
  error: unknown,
  chance: number,
  backoff: Backoff = DEFAULT_BACKOFF,
): number {
  const ceiling = Math.min(backoff.maxMs, backoff.firstMs * 2 ** (attempt - 1));
  const [retry] = ConnectError.from(error).findDetails(RetryInfoSchema);
  const asked = retry?.retryDelay
    ? Number(retry.retryDelay.seconds) * 1000 + retry.retryDelay.nanos / 1e6
    : 0;
  return asked + ceiling * chance;
}

// A live inbox that survives cut connections: what was missed comes first, nothing comes twice.

import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";

import {
  type InboxMessage,
  InboxService,
  WatchInboxRequestSchema,
} from "../../../gen/web/aerofusion/notify/v1/inbox_service_pb.js";
import { isPassing, waitMs } from "./backoff.js";
import type { Mesh } from "./mesh.js";

/** What happened in an inbox. */
export type InboxEvent =
  | { kind: "message"; message: InboxMessage }
  | { kind: "caught-up" }
  | { kind: "reset" }
  | { kind: "offline"; retryInMs: number };

export interface FollowOptions {
  /** Ends the following. */
  signal: AbortSignal;
  /** Where to go on, from an earlier `InboxFollower.cursor`. Empty: the newest messages. */
  cursor?: string;
}

/** After this long without a sign of life the stream counts as dead; the server sends one each 10 s. */
const SILENCE_MAX_MS = 25_000;

/** Follows one inbox; iterate over `events`. */
export class InboxFollower {
  /** Where to go on after the last event; keep it to resume after a restart. */
  cursor: string;

  constructor(
    private readonly mesh: Mesh,
    /** `tenants/{tenant}/recipients/{recipient}` */
    private readonly parent: string,
    private readonly options: FollowOptions,
  ) {
    this.cursor = options.cursor ?? "";
  }

  /**
   * Yields what happens until the signal aborts; reconnects by itself.
   *
   * Throws a `ConnectError` for what no waiting mends: a bad token, an unknown recipient.
   */
  async *events(): AsyncGenerator<InboxEvent> {
    const { signal } = this.options;
    let attempt = 0;
    while (!signal.aborted) {
      try {
        for await (const event of this.#stream()) {
          attempt = 0;
          yield event;
        }
      } catch (error) {
        if (signal.aborted) return;
        // Cancelled, though nobody asked for it: the watchdog gave the stream up.
        const silent = ConnectError.from(error).code === Code.Canceled;
        if (!silent && !isPassing(error)) throw error;
        attempt += 1;
        const retryInMs = waitMs(attempt, error, Math.random());
        yield { kind: "offline", retryInMs };
        await pause(retryInMs, signal);
      }
    }
  }

  async *#stream(): AsyncGenerator<InboxEvent> {
    const request = create(WatchInboxRequestSchema, { parent: this.parent, cursor: this.cursor });
    const watchdog = new Watchdog(SILENCE_MAX_MS, this.options.signal);
    try {
      const answers = this.mesh.client(InboxService).watchInbox(request, {
        signal: watchdog.signal,
      });
      for await (const answer of answers) {
        watchdog.alive();
        const { event } = answer;
        if (event.case === "message") yield { kind: "message", message: event.value };
        if (event.case === "caughtUp") yield { kind: "caught-up" };
        if (event.case === "reset") yield { kind: "reset" };
        // Only now: whoever stops in between gets the event again instead of missing it.
        this.cursor = answer.cursor;
      }
    } finally {
      watchdog.stop();
    }
  }
}

/** Aborts its signal after a silence, or when *outer* aborts. */
class Watchdog {
  readonly #controller = new AbortController();
  readonly #abort = () => this.#controller.abort();
  #timer: ReturnType<typeof setTimeout>;

  constructor(
    private readonly silenceMs: number,
    private readonly outer: AbortSignal,
  ) {
    outer.addEventListener("abort", this.#abort, { once: true });
    this.#timer = setTimeout(this.#abort, silenceMs);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  alive(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#abort, this.silenceMs);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.outer.removeEventListener("abort", this.#abort);
    this.#controller.abort();
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

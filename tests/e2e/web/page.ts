// Runs in a real browser: what a web app does with the mesh, told to the test through `report`.

import { create } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";

import { InboxFollower, Mesh } from "../../../clients/web/src/index.js";
import {
  InboxService,
  ListInboxMessagesRequestSchema,
} from "../../../gen/web/aerofusion/notify/v1/inbox_service_pb.js";
import { ErrorInfoSchema } from "../../../gen/web/google/rpc/error_details_pb.js";

interface Task {
  edge: string;
  token: string;
  parent: string;
  /** Ends the live inbox after this many messages. */
  messages: number;
}

interface Result {
  /** Code of each unary call, 0 for OK. */
  unary: { code: number; reason: string; count: number };
  /** What the live inbox told, in order. */
  events: string[];
  titles: string[];
}

async function unary(mesh: Mesh, parent: string): Promise<Result["unary"]> {
  try {
    const request = create(ListInboxMessagesRequestSchema, { parent, pageSize: 10 });
    const answer = await mesh.client(InboxService).listInboxMessages(request);
    return { code: 0, reason: "", count: answer.messages.length };
  } catch (error) {
    const refused = ConnectError.from(error);
    const [info] = refused.findDetails(ErrorInfoSchema);
    return { code: refused.code, reason: info?.reason ?? "", count: 0 };
  }
}

async function live(mesh: Mesh, task: Task, result: Result): Promise<void> {
  const abort = new AbortController();
  const follower = new InboxFollower(mesh, task.parent, { signal: abort.signal });
  for await (const event of follower.events()) {
    result.events.push(event.kind);
    if (event.kind === "message") result.titles.push(event.message.title);
    if (result.titles.length >= task.messages) abort.abort();
  }
}

async function run(task: Task): Promise<Result> {
  const mesh = new Mesh({
    edge: task.edge,
    ...(task.token ? { token: () => task.token } : {}),
  });
  const result: Result = { unary: await unary(mesh, task.parent), events: [], titles: [] };
  if (result.unary.code === 0 && task.messages > 0) await live(mesh, task, result);
  return result;
}

declare global {
  interface Window {
    run: typeof run;
  }
}

window.run = run;

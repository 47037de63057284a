// A browser's or Node's way into the mesh: gRPC-Web to the edge, with the user's token.

import type { DescService } from "@bufbuild/protobuf";
import {
  type Client,
  type Interceptor,
  type Transport,
  createClient,
} from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

/** Gives the user's current token; asked before each call, so it may be renewed meanwhile. */
export type TokenSource = () => string | Promise<string>;

export interface MeshOptions {
  /** Where the edge is, such as `https://edge.airport.example`. */
  edge: string;
  /** Gives the token of the user; without one only public methods answer. */
  token?: TokenSource;
}

/** A connection to the mesh: hands out a client for each gRPC service. */
export class Mesh {
  readonly #transport: Transport;

  constructor(options: MeshOptions) {
    this.#transport = createGrpcWebTransport({
      baseUrl: options.edge,
      interceptors: options.token ? [withToken(options.token)] : [],
    });
  }

  /** Returns a client of *service*, one of the descriptors under `gen/web`. */
  client<S extends DescService>(service: S): Client<S> {
    return createClient(service, this.#transport);
  }
}

function withToken(token: TokenSource): Interceptor {
  return (next) => async (request) => {
    request.header.set("authorization", `Bearer ${await token()}`);
    return next(request);
  };
}

// AeroFusion Mesh for the web.

export { DEFAULT_BACKOFF, type Backoff, isPassing, waitMs } from "./backoff.js";
export { type FollowOptions, type InboxEvent, InboxFollower } from "./inbox.js";
export { Mesh, type MeshOptions, type TokenSource } from "./mesh.js";

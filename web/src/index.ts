/** Multi-person 2D pose estimation in the browser; see docs/browser.md. */
export type { Pixels } from "./crops.js";
export { Follower, type FollowerOptions } from "./follower.js";
export type { Box } from "./geometry.js";
export type { Manifest } from "./models.js";
export { type EstimateOptions, load, type LoadOptions, Pipeline } from "./pipeline.js";
export type { ImageInput } from "./pixels.js";
export { type Person, type Poses, type Skeleton, toJson } from "./poses.js";
export type { Backend, OrtModule, RuntimeOptions } from "./runtime.js";
export type { OneEuroSettings } from "./tracking/smoothing.js";
export type { TrackerSettings } from "./tracking/tracks.js";

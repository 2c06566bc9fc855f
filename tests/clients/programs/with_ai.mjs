// Vercel's `ai`, with its providers for OpenAI-compatible servers, OpenAI's responses and Anthropic.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const { BASE_URL, MODEL } = process.env;
const baseURL = `${BASE_URL}/v1`;
const apiKey = "unused";
const compatible = createOpenAICompatible({
  name: "slipway", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true,
});
const common = { model: compatible(MODEL), prompt: "What is the capital of France?", temperature: 0, maxOutputTokens: 64 };
const weather = tool({
  description: "The weather in a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `It rains in ${city}.`,
});

test("generate text", async () => {
  const { text, usage } = await generateText(common);
  assert.match(text, /Paris/);
  assert.ok(usage.outputTokens > 0);
});

test("stream text", async () => {
  const stream = streamText(common);
  let text = "";
  for await (const piece of stream.textStream) text += piece;
  assert.match(text, /Paris/);
  assert.ok((await stream.usage).outputTokens > 0);
});

test("structured output", async () => {
  const output = Output.object({ schema: z.object({ name: z.string(), people: z.number().int() }) });
  const { output: city } = await generateText({ ...common, output });
  assert.equal(typeof city.people, "number");
});

test("tool loop", async () => {
  const prepareStep = ({ stepNumber }) => ({ toolChoice: stepNumber ? "none" : "required" });
  const asked = { ...common, prompt: "How is the weather in Seoul?", tools: { weather }, prepareStep };
  const { steps, text } = await generateText({ ...asked, stopWhen: stepCountIs(2) });
  assert.equal(steps[0].toolResults.length, 1);
  assert.ok(text);
});

test("streamed tool call", async () => {
  const asked = { ...common, prompt: "How is the weather in Seoul?", tools: { weather }, toolChoice: "required" };
  const calls = await streamText(asked).toolCalls;
  assert.equal(calls[0].toolName, "weather");
});

test("responses", async () => {
  const { text } = await generateText({ ...common, model: createOpenAI({ baseURL, apiKey }).responses(MODEL) });
  assert.match(text, /Paris/);
});

test("anthropic messages", async () => {
  const { text } = await generateText({ ...common, model: createAnthropic({ baseURL, apiKey })(MODEL) });
  assert.match(text, /Paris/);
});

"""Names of spans and attributes, in one module.

Today's OpenTelemetry names (`gen_ai.*`, `messaging.*`) as strings of our own: the GenAI conventions
are still in development and renamed upstream, and an import of them would follow every rename.
"""

SYSTEM = "messaging.system"
OPERATION = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION = "messaging.destination.name"
DESTINATION_TEMPLATE = "messaging.destination.template"
MESSAGE_ID = "messaging.message.id"
CONVERSATION_ID = "messaging.message.conversation_id"
BODY_SIZE = "messaging.message.body.size"

AGENT_NAME = "agent.name"
AGENT_ROLE = "agent.role"
GEN_AI_AGENT_NAME = "gen_ai.agent.name"
GEN_AI_OPERATION = "gen_ai.operation.name"
GEN_AI_PROVIDER = "gen_ai.provider.name"
GEN_AI_MODEL = "gen_ai.request.model"
GEN_AI_TEMPERATURE = "gen_ai.request.temperature"
GEN_AI_MAX_TOKENS = "gen_ai.request.max_tokens"
GEN_AI_INPUT_TOKENS = "gen_ai.usage.input_tokens"
GEN_AI_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
GEN_AI_FINISH_REASONS = "gen_ai.response.finish_reasons"

GEN_AI_TOOL_NAME = "gen_ai.tool.name"
GEN_AI_TOOL_CALL_ID = "gen_ai.tool.call.id"

TOOL_NAME = "tool.name"
TOOL_EFFECT = "tool.effect"
TOOL_DURATION = "tool.duration_ms"

SPAN = "aixgo.span"
"""Name of the span in REQUIREMENTS E1, where today's conventions use another name."""
RUN_ID = "aixgo.run.id"
STEP = "aixgo.step"
ATTEMPT = "aixgo.attempt"
ERROR_TYPE = "error.type"

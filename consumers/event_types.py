"""Which gateway event types make which of hikari's events: what a group's queue is bound to.

hikari has this knowledge in its event manager, but offers it nowhere publicly. A test compares this table with the
consumer methods of every supported hikari.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from hikari import events
from hikari.events import poll_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_NAMES: dict[str, tuple[str, ...]] = {
    "APPLICATION_COMMAND_PERMISSIONS_UPDATE": ("ApplicationCommandPermissionsUpdateEvent",),
    "AUTO_MODERATION_ACTION_EXECUTION": ("AutoModActionExecutionEvent",),
    "AUTO_MODERATION_RULE_CREATE": ("AutoModRuleCreateEvent",),
    "AUTO_MODERATION_RULE_DELETE": ("AutoModRuleDeleteEvent",),
    "AUTO_MODERATION_RULE_UPDATE": ("AutoModRuleUpdateEvent",),
    "CHANNEL_CREATE": ("GuildChannelCreateEvent",),
    "CHANNEL_DELETE": ("GuildChannelDeleteEvent",),
    "CHANNEL_INFO": ("ChannelInfoEvent",),
    "CHANNEL_PINS_UPDATE": ("DMPinsUpdateEvent", "GuildPinsUpdateEvent"),
    "CHANNEL_UPDATE": ("GuildChannelUpdateEvent",),
    "ENTITLEMENT_CREATE": ("EntitlementCreateEvent",),
    "ENTITLEMENT_DELETE": ("EntitlementDeleteEvent",),
    "ENTITLEMENT_UPDATE": ("EntitlementUpdateEvent",),
    "GUILD_AUDIT_LOG_ENTRY_CREATE": ("AuditLogEntryCreateEvent",),
    "GUILD_BAN_ADD": ("BanCreateEvent",),
    "GUILD_BAN_REMOVE": ("BanDeleteEvent",),
    "GUILD_CREATE": ("GuildAvailableEvent", "GuildJoinEvent"),
    "GUILD_DELETE": ("GuildLeaveEvent", "GuildUnavailableEvent"),
    "GUILD_EMOJIS_UPDATE": ("EmojisUpdateEvent",),
    "GUILD_INTEGRATIONS_UPDATE": (),
    "GUILD_MEMBERS_CHUNK": ("MemberChunkEvent",),
    "GUILD_MEMBER_ADD": ("MemberCreateEvent",),
    "GUILD_MEMBER_REMOVE": ("MemberDeleteEvent",),
    "GUILD_MEMBER_UPDATE": ("MemberUpdateEvent",),
    "GUILD_ROLE_CREATE": ("RoleCreateEvent",),
    "GUILD_ROLE_DELETE": ("RoleDeleteEvent",),
    "GUILD_ROLE_UPDATE": ("RoleUpdateEvent",),
    "GUILD_SCHEDULED_EVENT_CREATE": ("ScheduledEventCreateEvent",),
    "GUILD_SCHEDULED_EVENT_DELETE": ("ScheduledEventDeleteEvent",),
    "GUILD_SCHEDULED_EVENT_UPDATE": ("ScheduledEventUpdateEvent",),
    "GUILD_SCHEDULED_EVENT_USER_ADD": ("ScheduledEventUserAddEvent",),
    "GUILD_SCHEDULED_EVENT_USER_REMOVE": ("ScheduledEventUserRemoveEvent",),
    "GUILD_STICKERS_UPDATE": ("StickersUpdateEvent",),
    "GUILD_UPDATE": ("GuildUpdateEvent",),
    "INTEGRATION_CREATE": ("IntegrationCreateEvent",),
    "INTEGRATION_DELETE": ("IntegrationDeleteEvent",),
    "INTEGRATION_UPDATE": ("IntegrationUpdateEvent",),
    "INTERACTION_CREATE": (
        "AutocompleteInteractionCreateEvent",
        "CommandInteractionCreateEvent",
        "ComponentInteractionCreateEvent",
        "ModalInteractionCreateEvent",
    ),
    "INVITE_CREATE": ("InviteCreateEvent",),
    "INVITE_DELETE": ("InviteDeleteEvent",),
    "MESSAGE_CREATE": ("DMMessageCreateEvent", "GuildMessageCreateEvent"),
    "MESSAGE_DELETE": ("DMMessageDeleteEvent", "GuildMessageDeleteEvent"),
    "MESSAGE_DELETE_BULK": ("GuildBulkMessageDeleteEvent",),
    "MESSAGE_POLL_VOTE_ADD": ("PollVoteCreateEvent",),
    "MESSAGE_POLL_VOTE_REMOVE": ("PollVoteDeleteEvent",),
    "MESSAGE_REACTION_ADD": ("DMReactionAddEvent", "GuildReactionAddEvent"),
    "MESSAGE_REACTION_REMOVE": ("DMReactionDeleteEvent", "GuildReactionDeleteEvent"),
    "MESSAGE_REACTION_REMOVE_ALL": ("DMReactionDeleteAllEvent", "GuildReactionDeleteAllEvent"),
    "MESSAGE_REACTION_REMOVE_EMOJI": ("DMReactionDeleteEmojiEvent", "GuildReactionDeleteEmojiEvent"),
    "MESSAGE_UPDATE": ("DMMessageUpdateEvent", "GuildMessageUpdateEvent"),
    "PRESENCE_UPDATE": ("PresenceUpdateEvent",),
    "RATE_LIMITED": ("RequestGuildMembersRateLimitedEvent", "ShardRateLimitedEvent"),
    "READY": ("ShardReadyEvent",),
    "RESUMED": ("ShardResumedEvent",),
    "STAGE_INSTANCE_CREATE": ("StageInstanceCreateEvent",),
    "STAGE_INSTANCE_DELETE": ("StageInstanceDeleteEvent",),
    "STAGE_INSTANCE_UPDATE": ("StageInstanceUpdateEvent",),
    "THREAD_CREATE": ("GuildThreadAccessEvent", "GuildThreadCreateEvent"),
    "THREAD_DELETE": ("GuildThreadDeleteEvent",),
    "THREAD_LIST_SYNC": ("ThreadListSyncEvent",),
    "THREAD_MEMBERS_UPDATE": ("ThreadMembersUpdateEvent",),
    "THREAD_UPDATE": ("GuildThreadUpdateEvent",),
    "TYPING_START": ("DMTypingEvent", "GuildTypingEvent"),
    "USER_UPDATE": ("OwnUserUpdateEvent",),
    "VOICE_CHANNEL_START_TIME_UPDATE": ("VoiceChannelStartTimeUpdateEvent",),
    "VOICE_CHANNEL_STATUS_UPDATE": ("VoiceChannelStatusUpdateEvent",),
    "VOICE_SERVER_UPDATE": ("VoiceServerUpdateEvent",),
    "VOICE_STATE_UPDATE": ("VoiceStateUpdateEvent",),
    "WEBHOOKS_UPDATE": ("WebhookUpdateEvent",),
}

# hikari 2.6 does not export its poll events from hikari.events.
_BY_NAME: Mapping[str, type[events.Event]] = {**vars(poll_events), **vars(events)}

EVENT_CLASSES: Mapping[str, tuple[type[events.Event], ...]] = MappingProxyType(
    {event_type: tuple(_BY_NAME[name] for name in names if name in _BY_NAME) for event_type, names in _NAMES.items()}
)
"""Gateway event type → the concrete events that hikari makes of it; a newer event is left out on an older hikari."""

# https://docs.discord.com/developers/events/gateway-events#receive-events
WITHOUT_EVENT = frozenset(
    {
        "GUILD_SOUNDBOARD_SOUNDS_UPDATE",
        "GUILD_SOUNDBOARD_SOUND_CREATE",
        "GUILD_SOUNDBOARD_SOUND_DELETE",
        "GUILD_SOUNDBOARD_SOUND_UPDATE",
        "SOUNDBOARD_SOUNDS",
        "SUBSCRIPTION_CREATE",
        "SUBSCRIPTION_DELETE",
        "SUBSCRIPTION_UPDATE",
        "THREAD_MEMBER_UPDATE",
        "VOICE_CHANNEL_EFFECT_SEND",
    }
)
"""Documented types that hikari makes no event of; a listener to ShardPayloadEvent gets them all the same."""


def wanted_types(has_listeners: Callable[[type[events.Event]], bool]) -> frozenset[str]:
    """The event types that somebody listens to; `has_listeners(cls)` counts listeners to the bases of `cls` too."""
    if has_listeners(events.ShardPayloadEvent):
        return frozenset(EVENT_CLASSES) | WITHOUT_EVENT
    return frozenset(name for name, classes in EVENT_CLASSES.items() if any(map(has_listeners, classes)))


def listenable_classes() -> Iterable[type[events.Event]]:
    """Every event class, bases included, that a dispatch can reach."""
    return {base for classes in EVENT_CLASSES.values() for cls in classes for base in cls.dispatches()}

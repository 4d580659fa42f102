"""A conversation: who is in it, what may be done in it, and what each event makes of it. Pure; time comes in with the command."""

from services.chat.domain.commands import (
    AddMembers,
    Command,
    CreateConversation,
    PostSystemMessage,
    RemoveMembers,
    SendMessage,
)
from services.chat.domain.conversation import (
    MAX_MEMBERS,
    MAX_RANGES,
    Conversation,
    Member,
    Profile,
    direct_id,
    evolve,
    initial,
    is_member,
    is_message,
)
from services.chat.domain.deciding import decide
from services.chat.domain.events import (
    ConversationCreated,
    Event,
    Kind,
    MembersAdded,
    MembersRemoved,
    MessageSent,
    Role,
    SystemMessagePosted,
)
from services.chat.domain.refusals import Refused, not_a_member, not_found

__all__ = [
    "MAX_MEMBERS",
    "MAX_RANGES",
    "AddMembers",
    "Command",
    "Conversation",
    "ConversationCreated",
    "CreateConversation",
    "Event",
    "Kind",
    "Member",
    "MembersAdded",
    "MembersRemoved",
    "MessageSent",
    "PostSystemMessage",
    "Profile",
    "Refused",
    "RemoveMembers",
    "Role",
    "SendMessage",
    "SystemMessagePosted",
    "decide",
    "direct_id",
    "evolve",
    "initial",
    "is_member",
    "is_message",
    "not_a_member",
    "not_found",
]

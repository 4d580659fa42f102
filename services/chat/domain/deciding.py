"""What a command leads to, or why it is refused."""

from __future__ import annotations

from collections.abc import Sequence

from services.chat.domain.commands import (
    AddMembers,
    Command,
    CreateConversation,
    PostSystemMessage,
    RemoveMembers,
    SendMessage,
)
from services.chat.domain.conversation import MAX_MEMBERS, Conversation, Profile, is_message
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


def decide(state: Conversation, command: Command) -> Sequence[Event]:
    """Give the events that a command leads to. Raises Refused."""
    if type(command) is SendMessage:  # by far the most frequent
        return _send(state, command)
    match command:
        case CreateConversation():
            return _create(state, command)
        case AddMembers():
            return _add(state, command)
        case RemoveMembers():
            return _remove(state, command)
        case PostSystemMessage():
            _existing(state)
            return (
                SystemMessagePosted(
                    command.at_us, command.acting_service, command.code, command.text, command.attributes
                ),
            )
    raise TypeError(f"no command of a conversation: {type(command).__name__}")


def _send(state: Conversation, command: SendMessage) -> Sequence[Event]:
    profile = state.profile
    if profile is None or command.actor not in profile.members:
        raise _stranger(state, command.oversees)
    for version in command.reply_to:
        if not is_message(state, version):
            raise Refused(
                "NO_SUCH_MESSAGE",
                "a message can only answer earlier messages of its conversation",
                metadata={"version": str(version)},
            )
    return (MessageSent(command.at_us, command.actor, command.acting_service, command.content),)


def _create(state: Conversation, command: CreateConversation) -> Sequence[Event]:
    if state.profile is not None:
        if command.meets_existing:
            return ()
        raise Refused("ALREADY_EXISTS", "there is another conversation under this id")
    ids = [user_id for user_id, _ in command.members]
    if len(set(ids)) != len(ids) or not ids:
        raise Refused("INVALID_FIELD", "members must be named, each once", field="member_ids")
    if command.kind is Kind.DIRECT and len(ids) != 2:
        raise Refused("INVALID_FIELD", "a direct conversation is between two different people", field="member_ids")
    if len(ids) > MAX_MEMBERS:
        raise _too_many(len(ids))
    return (
        ConversationCreated(
            command.at_us,
            command.actor,
            command.acting_service,
            command.kind,
            command.title,
            command.members,
            dict(command.attributes),
        ),
    )


def _add(state: Conversation, command: AddMembers) -> Sequence[Event]:
    profile = _manageable(state, command.actor, command.oversees)
    if not command.oversees and profile.members[command.actor].role is not Role.OWNER:
        raise Refused("FORBIDDEN", "only an owner adds members")
    new = tuple((user_id, Role.MEMBER) for user_id in dict.fromkeys(command.user_ids) if user_id not in profile.members)
    if not new:
        return ()
    if len(profile.members) + len(new) > MAX_MEMBERS:
        raise _too_many(len(profile.members) + len(new))
    return (MembersAdded(command.at_us, command.actor, command.acting_service, new),)


def _remove(state: Conversation, command: RemoveMembers) -> Sequence[Event]:
    profile = _manageable(state, command.actor, command.oversees)
    itself = set(command.user_ids) == {command.actor}
    if not (command.oversees or itself or profile.members[command.actor].role is Role.OWNER):
        raise Refused("FORBIDDEN", "only an owner removes others")
    gone = tuple(user_id for user_id in dict.fromkeys(command.user_ids) if user_id in profile.members)
    if not gone:
        return ()
    leaving = set(gone)
    if not any(m.role is Role.OWNER and user_id not in leaving for user_id, m in profile.members.items()):
        raise Refused("LAST_OWNER", "the last owner cannot leave or be removed")
    return (MembersRemoved(command.at_us, command.actor, command.acting_service, gone),)


def _manageable(state: Conversation, actor: str, oversees: bool) -> Profile:
    """Give the profile of a group whose membership the actor may at least ask to change. Raises Refused."""
    profile = _existing(state)
    if not oversees and actor not in profile.members:
        raise _stranger(state, oversees)
    if profile.kind is not Kind.GROUP:
        raise Refused("WRONG_CONVERSATION_KIND", "members of a direct conversation do not change")
    return profile


def _existing(state: Conversation) -> Profile:
    if state.profile is None:
        raise not_found()
    return state.profile


def _stranger(state: Conversation, oversees: bool) -> Refused:
    # Only who oversees the tenant may learn that the conversation exists.
    return not_a_member() if oversees and state.profile is not None else not_found()


def _too_many(count: int) -> Refused:
    return Refused(
        "MEMBERS_LIMIT",
        f"a group has at most {MAX_MEMBERS} members",
        metadata={"limit": str(MAX_MEMBERS), "wanted": str(count)},
    )

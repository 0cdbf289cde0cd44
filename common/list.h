/* list - intrusive doubly linked list, circular through its head.
 *
 *      ┌─► head ◄──► a ◄──► b ◄──► c ◄─┐
 *      └───────────────────────────────┘      empty: head points at itself
 *
 * A node is a `struct list` member of the item; LIST_ITEM() goes back to the item. An item that is
 * in no list has been list_init()ed, so list_remove() is always safe. Not thread-safe.
 */
#ifndef MSGL_COMMON_LIST_H
#define MSGL_COMMON_LIST_H

#include "common/base.h"

struct list {
    struct list *prev;
    struct list *next;
};

#define LIST_ITEM(node, type, member) CONTAINER_OF(node, type, member)
#define LIST_EACH(pos, head)          for (struct list *pos = (head)->next; pos != (head); pos = pos->next)
/* The current node may be removed (and only that one). */
#define LIST_EACH_SAFE(pos, tmp, head)                                                             \
    for (struct list *pos = (head)->next, *tmp = pos->next; pos != (head);                         \
         pos = tmp, tmp = tmp->next)

static inline void list_init(struct list *node)
{
    node->prev = node->next = node;
}

static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}

static inline void list_insert_before(struct list *at, struct list *node)
{
    node->prev = at->prev;
    node->next = at;
    at->prev->next = node;
    at->prev = node;
}

static inline void list_append(struct list *head, struct list *node)
{
    list_insert_before(head, node);
}

static inline void list_prepend(struct list *head, struct list *node)
{
    list_insert_before(head->next, node);
}

static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

#endif

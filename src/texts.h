/*-------------------------------------------------------------------------
 * texts.h
 *		Texts of other sessions: clipped and converted without raising.
 *-------------------------------------------------------------------------
 */
#ifndef LG_TEXTS_H
#define LG_TEXTS_H

extern char *lg_texts_to_local(const char *raw, Oid databaseid);
extern char *lg_texts_valid_here(const char *raw);
extern char *lg_texts_query_tags(const char *query);

#endif /* LG_TEXTS_H */

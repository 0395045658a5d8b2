/*-------------------------------------------------------------------------
 * statements.h
 *		Statements without their constants.
 *-------------------------------------------------------------------------
 */
#ifndef LG_STATEMENTS_H
#define LG_STATEMENTS_H

extern int lg_statements_squeeze(const char *query, char *squeezed, int room);

#endif /* LG_STATEMENTS_H */

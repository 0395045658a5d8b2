/*-------------------------------------------------------------------------
 * statements.c
 *		Statements without their constants.
 *
 * Where there is no query id, this tells which statements are the same: strings,
 * numbers and parameters become "?", lists of them one "?", comments and runs of
 * blanks one blank.  It is no parser: what it takes for the same may differ now and
 * then, and the other way round.  That costs a row too few or too many in a sum.
 *
 * Pure: nothing is allocated, raised or locked.  Texts are bytes in an encoding of
 * the server, where ASCII bytes mean what they say.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "statements.h"

/* What is read, and what is written so far. */
typedef struct Squeeze
{
	const char *in;
	char *out;
	int n;
	int room;	/* in out, without the end */
	bool blank; /* one stands between what is written and what comes */
} Squeeze;

/* Not isalnum(): the locale must have no say. */
static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' ||
		   IS_HIGHBIT_SET(c);
}

static bool
is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static void
put(Squeeze *squeeze, char c)
{
	if (squeeze->blank && squeeze->n > 0 && squeeze->n < squeeze->room)
		squeeze->out[squeeze->n++] = ' ';
	squeeze->blank = false;
	if (squeeze->n < squeeze->room)
		squeeze->out[squeeze->n++] = c;
}

/* Does what is written end so? */
static bool
ends_with(const Squeeze *squeeze, const char *end)
{
	int len = strlen(end);

	return squeeze->n >= len && memcmp(squeeze->out + squeeze->n - len, end, len) == 0;
}

/* Write a constant; of a list of them, only the first. */
static void
put_constant(Squeeze *squeeze)
{
	/* a sign belongs to it, unless there is something to subtract from */
	if ((ends_with(squeeze, "-") || ends_with(squeeze, "+")) && !squeeze->blank)
	{
		int before = squeeze->n - 2;

		while (before >= 0 && squeeze->out[before] == ' ')
			before--;
		if (before >= 0 && strchr("=<>(,", squeeze->out[before]) != NULL)
		{
			squeeze->blank = squeeze->out[squeeze->n - 2] == ' ';
			squeeze->n = before + 1;
		}
	}
	if (ends_with(squeeze, "?,"))
	{
		squeeze->n--;
		squeeze->blank = false;
		return;
	}
	put(squeeze, '?');
}

/* Behind a comment: past its end, or to the end of the text. */
static const char *
skip_comment(const char *in)
{
	int depth = 1;

	if (*in == '-')
		return in + strcspn(in, "\n");
	for (in += 2; *in != '\0' && depth > 0; in++)
	{
		if (in[0] == '/' && in[1] == '*')
			depth++, in++;
		else if (in[0] == '*' && in[1] == '/')
			depth--, in++;
	}
	return in;
}

/* Behind a string or a quoted name; the quote doubled, or escaped, does not end it. */
static const char *
skip_quoted(const char *in, bool escapes)
{
	char quote = *in++;

	while (*in != '\0')
	{
		if (escapes && in[0] == '\\' && in[1] != '\0')
			in += 2;
		else if (in[0] == quote && in[1] == quote)
			in += 2;
		else if (*in++ == quote)
			break;
	}
	return in;
}

/* Behind a $tag$ string; NULL if none begins here. */
static const char *
skip_dollar_quoted(const char *in)
{
	const char *end = in + 1;
	int len;

	while (is_word(*end))
		end++;
	if (*end != '$')
		return NULL;
	len = end + 1 - in;
	for (end++; *end != '\0'; end++)
	{
		if (*end == '$' && strncmp(end, in, len) == 0)
			return end + len;
	}
	return end;
}

/* Behind a number, exponent and all. */
static const char *
skip_number(const char *in)
{
	while (is_word(*in) || *in == '.')
	{
		bool exponent = *in == 'e' || *in == 'E';

		in++;
		if (exponent && (*in == '+' || *in == '-') && is_digit(in[1]))
			in++;
	}
	return in;
}

/* A name or keyword, as it is, or the string that it introduces. */
static void
squeeze_word(Squeeze *squeeze)
{
	const char *in = squeeze->in;

	if ((*in == 'e' || *in == 'E') && in[1] == '\'')
	{
		squeeze->in = skip_quoted(in + 1, true);
		put_constant(squeeze);
		return;
	}
	if (strchr("bBxXnN", *in) != NULL && in[1] == '\'')
	{
		squeeze->in = skip_quoted(in + 1, false);
		put_constant(squeeze);
		return;
	}
	while (is_word(*in) || *in == '$')
		put(squeeze, *in++);
	squeeze->in = in;
}

/* One step: reads at least one byte. */
static void
squeeze_next(Squeeze *squeeze)
{
	const char *in = squeeze->in;
	const char *end;

	if (is_blank(*in))
	{
		squeeze->blank = true;
		squeeze->in++;
	}
	else if ((in[0] == '-' && in[1] == '-') || (in[0] == '/' && in[1] == '*'))
	{
		squeeze->blank = true;
		squeeze->in = skip_comment(in);
	}
	else if (*in == '\'')
	{
		squeeze->in = skip_quoted(in, false);
		put_constant(squeeze);
	}
	else if (*in == '"')
	{
		end = skip_quoted(in, false);
		while (in < end)
			put(squeeze, *in++);
		squeeze->in = end;
	}
	else if (*in == '$' && (end = skip_dollar_quoted(in)) != NULL)
	{
		squeeze->in = end;
		put_constant(squeeze);
	}
	else if (is_digit(*in) || ((*in == '.' || *in == '$') && is_digit(in[1])))
	{
		squeeze->in = skip_number(in + 1);
		put_constant(squeeze);
	}
	else if (is_word(*in))
		squeeze_word(squeeze);
	else
	{
		/* rows of constants, as in VALUES, are as good as one */
		if (*in == ')' && ends_with(squeeze, "(?), (?"))
			squeeze->n -= 5;
		else if (*in == ')' && ends_with(squeeze, "(?),(?"))
			squeeze->n -= 4;
		put(squeeze, *in);
		squeeze->in++;
	}
}

/*
 * Write a statement without its constants, and NUL-terminated, into so many bytes.
 * What does not fit is left out.  Returns its length.
 */
int
lg_statements_squeeze(const char *query, char *squeezed, int room)
{
	Squeeze squeeze = {.in = query, .out = squeezed, .room = room - 1};

	while (*squeeze.in != '\0' && squeeze.n < squeeze.room)
		squeeze_next(&squeeze);
	while (squeeze.n > 0 && (squeezed[squeeze.n - 1] == ';' || squeezed[squeeze.n - 1] == ' '))
		squeeze.n--;
	squeezed[squeeze.n] = '\0';
	return squeeze.n;
}

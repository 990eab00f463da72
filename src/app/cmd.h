/* src/app/cmd.h
 *
 * The commands behind `engram NAME`. argv[0] is the command's name; each returns an exit status.
 */
#ifndef ENGRAM_APP_CMD_H
#define ENGRAM_APP_CMD_H

int cmd_serve(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_query(int argc, char **argv);
int cmd_test(int argc, char **argv);

#endif
